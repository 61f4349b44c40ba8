// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/test/histories/judge"
)

func TestOutcomeOf(t *testing.T) {
	named := &metav1.StatusDetails{Name: "a"}
	for name, c := range map[string]struct {
		status metav1.Status
		want   judge.Outcome
		known  bool
	}{
		"no such object":       {metav1.Status{Code: 404, Reason: metav1.StatusReasonNotFound, Details: named}, judge.NotFound, true},
		"no such resource":     {metav1.Status{Code: 404, Reason: metav1.StatusReasonNotFound, Details: &metav1.StatusDetails{}}, "", true},
		"exists":               {metav1.Status{Code: 409, Reason: metav1.StatusReasonAlreadyExists, Details: named}, judge.Exists, true},
		"conflict":             {metav1.Status{Code: 409, Reason: metav1.StatusReasonConflict, Details: named}, judge.Conflict, true},
		"too many":             {metav1.Status{Code: 429, Reason: metav1.StatusReasonTooManyRequests}, "", true},
		"etcd knows nothing":   {metav1.Status{Code: 500, Message: "etcdserver: request timed out"}, judge.Unknown, true},
		"allotted time is up":  {metav1.Status{Code: 504, Reason: metav1.StatusReasonTimeout}, judge.Unknown, true},
		"forbidden":            {metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden}, judge.Unknown, false},
		"invalid":              {metav1.Status{Code: 422, Reason: metav1.StatusReasonInvalid}, judge.Unknown, false},
		"a page, not a Status": {metav1.Status{Code: 404}, judge.Unknown, false},
	} {
		if got, known := outcomeOf(&statusError{c.status}); known != c.known || (known && got != c.want) {
			t.Errorf("%s: outcome %q, known %t; want %q, %t", name, got, known, c.want, c.known)
		}
	}
}

func TestObject(t *testing.T) {
	const metadata = `"metadata": {"name": "a", "uid": "u", "resourceVersion": "7", "generation": 2, "annotations": {"` + noteKey + `": "n"}`
	for i, text := range []string{
		`{` + metadata + `}, "data": {"value": "s"}}`,
		`{` + metadata + `, "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"containers": [{"image": "` + podImage + `s"}]}}`,
		`{` + metadata + `}, "spec": {"value": "s"}}`,
	} {
		k := &kinds[i]
		var w wire
		if err := json.Unmarshal([]byte(text), &w); err != nil {
			t.Fatal(err)
		}
		got, err := w.object(k)
		want := judge.Object{Key: judge.Key{Resource: k.resource, Name: "a"}, UID: "u", Version: 7, Generation: 2, Spec: "s", Note: "n", Deleting: k.graceful}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", k.resource, err, diff)
		}
	}
}

// TestSpecIsRead: what a client sends as spec is what it reads as such, of every kind.
func TestSpecIsRead(t *testing.T) {
	for i := range kinds {
		k := &kinds[i]
		object := k.manifest("a", "s1")
		if err := k.set(object, "s2"); err != nil {
			t.Fatal(err)
		}
		object["metadata"].(map[string]any)["resourceVersion"] = "1"
		data, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		var w wire
		if err := json.Unmarshal(data, &w); err != nil {
			t.Fatal(err)
		}
		if got, err := w.object(k); err != nil || got.Spec != "s2" || got.Name != "a" {
			t.Errorf("%s: %v, %v", k.resource, got, err)
		}
	}
}
