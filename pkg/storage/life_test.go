// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/storage"
)

// TestDeletesTheObjectDecidedOn: between a request's decision and its deletion others delete the object and create another of its name.
func TestDeletesTheObjectDecidedOn(t *testing.T) {
	store := maps(t, start(t, filepath.Join(t.TempDir(), "etcd")))
	create := func(uid types.UID) {
		t.Helper()
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: uid}}
		if err := store.Create(t.Context(), key("a"), m, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(ctx context.Context, preconditions *storage.Preconditions) error {
		return store.Delete(ctx, key("a"), &corev1.ConfigMap{}, preconditions, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	}
	decided := errors.New("delete it")
	for name, c := range map[string]struct {
		preconditions *storage.Preconditions
		recreate      bool
		wantNotFound  bool
		wantConflict  bool
	}{
		"same object":                    {},
		"another":                        {recreate: true, wantNotFound: true},
		"another, by its UID":            {recreate: true, preconditions: storage.NewUIDPreconditions("1"), wantNotFound: true},
		"another, by its version":        {recreate: true, preconditions: &storage.Preconditions{ResourceVersion: new("1")}, wantNotFound: true},
		"same object in another version": {preconditions: &storage.Preconditions{ResourceVersion: new("1")}, wantConflict: true},
	} {
		create("1")
		ctx := WithLives(t.Context())
		decide := func(runtime.Object, storage.ResponseMeta) (runtime.Object, *uint64, error) { return nil, nil, decided }
		if err := store.GuaranteedUpdate(ctx, key("a"), &corev1.ConfigMap{}, false, nil, decide, nil); !errors.Is(err, decided) {
			t.Fatal(err)
		}
		if c.recreate {
			if err := remove(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			create("2")
		}
		err := remove(ctx, c.preconditions)
		if storage.IsNotFound(err) != c.wantNotFound || storage.IsInvalidObj(err) != c.wantConflict || (err == nil) == (c.wantNotFound || c.wantConflict) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			continue
		}
		// It is there still, and a request that has decided on nothing deletes it.
		if err := remove(WithLives(t.Context()), nil); err != nil {
			t.Errorf("%s: afterwards %v", name, err)
		}
	}
}
