// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/daemon"
)

// answer is what the API server says next.
type answer struct {
	code int
	body any
}

// server answers a rotation with the first of answers and each question after it with the next.
func server(t *testing.T, answers ...answer) *adminAPI {
	t.Helper()
	next := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := http.MethodGet + " " + daemon.EncryptionPath
		if next == 0 {
			want = http.MethodPost + " " + daemon.RotationPath
		}
		if got := r.Method + " " + r.URL.Path; got != want || next == len(answers) {
			t.Errorf("request %d is %s, want %s", next, got, want)
			return
		}
		a := answers[next]
		next++
		w.WriteHeader(a.code)
		if err := json.NewEncoder(w).Encode(a.body); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return &adminAPI{&cluster{Config: &apiconfig.Config{DataDir: "/d"}}, s.URL, s.Client()}
}

func TestRotateShowsHowItGoes(t *testing.T) {
	working := daemon.Encryption{Stage: daemon.EncryptionRewriting, Rewritten: 1, Total: 3}
	cleaning := daemon.Encryption{Stage: daemon.EncryptionCleaning, Rewritten: 3, Total: 3}
	settled := daemon.Encryption{Stage: daemon.EncryptionSettled, KeyFile: "/d/keys.json", Keys: []daemon.EncryptionKey{{Name: "k2"}},
		Resources: []daemon.EncryptedResource{{Resource: "secrets", Encrypt: true, Encrypted: map[string]int64{"k2": 3}}}}
	pending := daemon.Encryption{Stage: daemon.EncryptionPending, Error: "no space left"}
	for name, c := range map[string]struct {
		answers []answer
		out     []string
		err     []string // nil where it succeeds
	}{
		"to the end": {
			[]answer{{http.StatusAccepted, daemon.Encryption{Stage: daemon.EncryptionRewriting}}, {http.StatusOK, working}, {http.StatusOK, cleaning}, {http.StatusOK, settled}},
			[]string{"A new key is made", "Rewritten 1 of 3 objects\n", "Removing earlier versions", "3 objects encrypted with key k2, the old key is dropped", "back up /d/keys.json"}, nil},
		"at once": {[]answer{{http.StatusAccepted, settled}}, []string{"Done in"}, nil},
		"on a full disk": {[]answer{{http.StatusAccepted, working}, {http.StatusOK, pending}}, []string{"Rewritten 1 of 3"},
			[]string{"has not ended, and nothing is lost: no space left\nNext: ", "hivemind secrets-encrypt rotate --data-dir /d"}},
		"beside another": {[]answer{{http.StatusConflict, map[string]any{"kind": "Status", "message": "a rotation goes on already"}}}, nil,
			[]string{"a rotation goes on already", "Next: hivemind secrets-encrypt status --data-dir /d"}},
		"with a server that is too old": {[]answer{{http.StatusNotFound, nil}}, nil, []string{"Next: hivemind down --data-dir /d && hivemind up -d --data-dir /d"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := rotateKey(t.Context(), &console{out: &out}, server(t, c.answers...))
			if (err == nil) != (c.err == nil) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			for _, want := range c.out {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q does not have %q", out.String(), want)
				}
			}
			for _, want := range c.err {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not have %q", err, want)
				}
			}
			if strings.Contains(out.String(), "of 0") {
				t.Errorf("%q counts before it has counted", out.String())
			}
		})
	}
}

func TestPrintEncryption(t *testing.T) {
	var out bytes.Buffer
	s := &daemon.Encryption{Stage: daemon.EncryptionPending, Error: "no space left", KeyFile: "/d/keys.json",
		Keys: []daemon.EncryptionKey{{Name: "new", Created: time.Now().Add(-time.Minute)}, {Name: "old", Created: time.Now().Add(-time.Hour * 72)}},
		Resources: []daemon.EncryptedResource{
			{Resource: "secrets", Encrypt: true, Plain: 4, Encrypted: map[string]int64{"old": 2, "new": 1}}, {Resource: "widgets.example.com"},
		}}
	cmd := newSecretsEncryptCommand(&console{})
	if err := printEncryption(&console{out: &out}, cmd, s, "table"); err != nil {
		t.Fatal(err)
	}
	const want = `Encryption:   enabled
Stage:        pending
Error:        no space left
Keys in:      /d/keys.json

KEY   USE           AGE
new   write, read   60s
old   read          3d

RESOURCE              ENCRYPT   OBJECTS   KEY
secrets               true      1         new
secrets               true      2         old
secrets               true      4         -
widgets.example.com   false     0         -
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for output, want := range map[string]string{"json": `"stage": "Pending"`, "yaml": "stage: Pending"} {
		out.Reset()
		if err := printEncryption(&console{out: &out}, cmd, s, output); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v\n%s", output, err, out.String())
		}
	}
}
