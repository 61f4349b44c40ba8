// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// TestLargeObjectsWait reads, lists and writes a large object while another request has all the room, and with a small one beside it.
func TestLargeObjectsWait(t *testing.T) {
	store := maps(t, start(t, filepath.Join(t.TempDir(), "etcd")))
	for name, size := range map[string]int{"large": 1 << 20, "small": 1} {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: map[string]string{"a": strings.Repeat("x", size)}}
		if err := store.Create(t.Context(), key(name), object, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	get := func(ctx context.Context, name string) error {
		var object corev1.ConfigMap
		return store.Get(ctx, key(name), storage.GetOptions{}, &object)
	}
	for _, tt := range []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"get", func(ctx context.Context) error { return get(ctx, "large") }},
		{"list", func(ctx context.Context) error {
			var list corev1.ConfigMapList
			err := store.GetList(ctx, "/configmaps/default/", storage.ListOptions{Recursive: true, Predicate: storage.Everything}, &list)
			if err == nil && len(list.Items) != 2 {
				t.Errorf("a list of %d, want 2", len(list.Items))
			}
			return err
		}},
		{"update", func(ctx context.Context) error {
			return store.GuaranteedUpdate(ctx, key("large"), &corev1.ConfigMap{}, false, nil, storage.SimpleUpdate(func(in runtime.Object) (runtime.Object, error) {
				in.(*corev1.ConfigMap).Labels = map[string]string{"a": "b"}
				return in, nil
			}), nil)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := room.New()
			_, other := all.Open(t.Context(), room.Writes, false)
			if !other.Has(1 << 30) {
				t.Fatal("an empty room has no room")
			}
			ctx, account := all.Open(t.Context(), room.Reads, tt.name == "list")
			defer account.Close()
			if err := get(ctx, "small"); err != nil {
				t.Errorf("a small object while others have all the room: %v", err)
			}
			hurried, cancel := context.WithCancel(t.Context())
			cancel()
			hurried, late := all.Open(hurried, room.Reads, tt.name == "list")
			if err := tt.do(context.WithoutCancel(hurried)); !apierrors.IsTooManyRequests(err) {
				t.Errorf("one that does not wait is told %v", err)
			}
			late.Close()
			done := make(chan error)
			go func() { done <- tt.do(ctx) }()
			other.Close()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
