// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/daemon"
	"github.com/hivemind-project/hivemind/pkg/storage/encryption"
)

// startEncryption has the storage encrypt what the configuration lists, and rewrites what is not yet as it lists. Where that does not
// end, on a full disk say, everything can be read still, so the server starts: only thus can room be made.
func (s *Server) startEncryption(ctx context.Context) (err error) {
	s.encryption, err = encryption.Open(ctx, s.etcd, encryption.Options{
		Dir: s.config.Path("encryption"), Resources: s.config.Encryption.Encrypted(), UnsafeNoFsync: s.config.Storage.UnsafeNoFsync,
	})
	if err != nil {
		return err
	}
	if err := s.encryption.Settle(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		klog.ErrorS(err, "Not all objects are encrypted as they should be; the next start goes on, or: hivemind secrets-encrypt rotate")
	}
	return nil
}

// encryptionHandlers are what `hivemind secrets-encrypt` talks to. Who may is decided before they are reached.
func (s *Server) encryptionHandlers() map[string]http.Handler {
	return map[string]http.Handler{
		daemon.EncryptionPath: only(http.MethodGet, func(w http.ResponseWriter, r *http.Request) {
			s.answerEncryption(w, r, http.StatusOK)
		}),
		daemon.RotationPath: only(http.MethodPost, func(w http.ResponseWriter, r *http.Request) {
			begun := make(chan error, 1)
			// It goes on when the client does not, and ends when the server does.
			s.work.work(s.life, "rotation of the encryption key", func(ctx context.Context) error {
				told := false
				err := s.encryption.Rotate(ctx, func() { told = true; begun <- nil })
				if told {
					return err
				}
				begun <- err // whoever asked is told
				return nil
			})
			switch err := <-begun; {
			case errors.Is(err, encryption.ErrBusy):
				refuse(w, http.StatusConflict, metav1.StatusReasonConflict, err)
			case err != nil:
				refuse(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err)
			default:
				s.answerEncryption(w, r, http.StatusAccepted)
			}
		}),
	}
}

// only answers other methods than the one with 405.
func only(method string, handle http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			refuse(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, fmt.Errorf("%s is for %s alone", r.URL.Path, method))
			return
		}
		handle(w, r)
	})
}

func (s *Server) answerEncryption(w http.ResponseWriter, r *http.Request, code int) {
	status, err := s.encryption.Status(r.Context())
	if err != nil {
		refuse(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err)
		return
	}
	answer(w, code, status)
}

// refuse answers with a Status, as the rest of the API does.
func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, err error) {
	answer(w, code, &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Message: err.Error(), Reason: reason, Code: int32(code),
	})
}

func answer(w http.ResponseWriter, code int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // a client that has gone wants no answer
}
