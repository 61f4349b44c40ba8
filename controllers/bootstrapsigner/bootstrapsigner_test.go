// SPDX-License-Identifier: Apache-2.0

package bootstrapsigner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/go-jose/go-jose.v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

const testKey = "0123456789abcdef"

func token(id, signing string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken,
		Data: map[string][]byte{"token-id": []byte(id), "token-secret": []byte(testKey), "usage-bootstrap-signing": []byte(signing)}}
}

// verify checks a signature as a joining machine does.
func verify(t *testing.T, signature, content, id string) {
	t.Helper()
	jws, err := jose.ParseDetached(signature, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.Verify([]byte(testKey)); err != nil {
		t.Error(err)
	}
	if got := jws.Signatures[0].Header.KeyID; got != id {
		t.Errorf("key id %q, want %q", got, id)
	}
}

func TestSigned(t *testing.T) {
	secrets := []*corev1.Secret{token("aaaaaa", "true"), token("bbbbbb", "false"), token("cccccc", "true")}
	got, err := signed(map[string]string{"kubeconfig": "content", "other": "kept", "jws-kubeconfig-aaaaaa": "old", "jws-kubeconfig-gone00": "x"}, secrets, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"jws-kubeconfig-aaaaaa", "jws-kubeconfig-cccccc", "kubeconfig", "other"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Fatal(diff)
	}
	verify(t, got["jws-kubeconfig-aaaaaa"], "content", "aaaaaa")
	verify(t, got["jws-kubeconfig-cccccc"], "content", "cccccc")
	// Joining machines compare whole signatures, so that the order of the header's fields counts.
	const known = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFhYWFhYSJ9.."
	if !strings.HasPrefix(got["jws-kubeconfig-aaaaaa"], known) {
		t.Errorf("signature %q, want %s…", got["jws-kubeconfig-aaaaaa"], known)
	}

	without := map[string]string{"jws-kubeconfig-aaaaaa": "old"}
	if got, err := signed(without, secrets, time.Now()); err != nil || !maps.Equal(got, without) {
		t.Errorf("without a kubeconfig: %v, %v", got, err)
	}
}

func TestSignaturesFollowTokens(t *testing.T) {
	info := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: Name}, Data: map[string]string{"kubeconfig": "one"}}
	c := testcluster.New(t, info, token("aaaaaa", "true"))
	core := c.Informers.Core().V1()
	controller, err := New(c.Client, core.Secrets(), core.ConfigMaps())
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	has := func(content string, ids ...string) {
		t.Helper()
		var data map[string]string
		c.Eventually(fmt.Sprintf("signatures by %v", ids), func() error {
			m, err := c.Client.CoreV1().ConfigMaps(Namespace).Get(t.Context(), Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			data = m.Data
			want := map[string]string{"kubeconfig": content}
			for _, id := range ids {
				if want["jws-kubeconfig-"+id], err = sign(content, id, testKey); err != nil {
					return err
				}
			}
			if diff := cmp.Diff(want, data); diff != "" {
				return fmt.Errorf("%s", diff)
			}
			return nil
		})
	}
	has("one", "aaaaaa")
	if _, err := c.Client.CoreV1().Secrets("kube-system").Create(t.Context(), token("bbbbbb", "true"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	has("one", "aaaaaa", "bbbbbb")
	if err := c.Client.CoreV1().Secrets("kube-system").Delete(t.Context(), "bootstrap-token-aaaaaa", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	has("one", "bbbbbb")
	changed, err := c.Client.CoreV1().ConfigMaps(Namespace).Get(t.Context(), Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changed.Data["kubeconfig"] = "two"
	if _, err := c.Client.CoreV1().ConfigMaps(Namespace).Update(t.Context(), changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	has("two", "bbbbbb")
}
