// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	ktesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
)

// A pod that is created before its namespace has the account default waits for it, as long as kube-apiserver may, and no longer. Another account is
// asked for once.
func TestServiceAccountIsWaitedFor(t *testing.T) {
	broken := errors.New("the storage is broken")
	for _, tt := range []struct {
		name      string
		account   string // of the pod
		cached    bool
		there     int           // by which read of the account it is there; 0 means never
		fails     error         // what reads say instead
		gone      time.Duration // after which the client has gone
		wantReads int
		wantWait  time.Duration
		want      string
	}{
		{"known to the cache", "", true, 0, nil, 0, 0, 0, ""},
		{"there at once", "", false, 1, nil, 0, 1, 0, ""},
		{"there a little later", "", false, 4, nil, 0, 4, 300 * time.Millisecond, ""},
		{"there in the last moment", "", false, 10, nil, 0, 10, 900 * time.Millisecond, ""},
		{"never there", "", false, 0, nil, 0, 10, 900 * time.Millisecond,
			`pods "p" is forbidden: error looking up service account new/default: serviceaccount "default" not found`},
		{"asked for by name", "default", false, 0, nil, 0, 10, 900 * time.Millisecond,
			`pods "p" is forbidden: error looking up service account new/default: serviceaccount "default" not found`},
		{"of somebody", "builder", false, 0, nil, 0, 1, 0,
			`pods "p" is forbidden: error looking up service account new/builder: serviceaccount "builder" not found`},
		{"cannot be read", "", false, 0, broken, 0, 1, 0, `pods "p" is forbidden: error looking up service account new/default: the storage is broken`},
		{"and the client goes", "", false, 0, nil, 250 * time.Millisecond, 3, 250 * time.Millisecond,
			`pods "p" is forbidden: error looking up service account new/default: context deadline exceeded`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "default"}}
				known := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
				if tt.cached {
					if err := known.Add(account); err != nil {
						t.Fatal(err)
					}
				}
				client, reads := fake.NewClientset(), 0
				client.PrependReactor("get", "serviceaccounts", func(a ktesting.Action) (bool, runtime.Object, error) {
					reads++
					switch name := a.(ktesting.GetAction).GetName(); {
					case tt.fails != nil:
						return true, nil, tt.fails
					case tt.there == 0 || reads < tt.there:
						return true, nil, apierrors.NewNotFound(corev1.Resource("serviceaccounts"), name)
					}
					return true, account, nil
				})
				ctx := t.Context()
				if tt.gone > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.gone)
					defer cancel()
				}
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "p"}, Spec: corev1.PodSpec{
					ServiceAccountName: tt.account, Containers: []corev1.Container{{Name: "c", Image: "i"}},
				}}
				attributes := admission.NewAttributesRecord(pod, nil, corev1.SchemeGroupVersion.WithKind("Pod"), "new", "p", corev1.SchemeGroupVersion.WithResource("pods"), "",
					admission.Create, &metav1.CreateOptions{}, false, &user.DefaultInfo{Name: "somebody"})
				begin := time.Now()
				err := NewServiceAccount(client, corelisters.NewServiceAccountLister(known)).Admit(ctx, attributes, nil)
				got := ""
				if err != nil {
					got = err.Error()
				}
				if got != tt.want || err != nil && !apierrors.IsForbidden(err) {
					t.Errorf("got  %v\nwant %s", err, tt.want)
				}
				if waited := time.Since(begin); reads != tt.wantReads || waited != tt.wantWait {
					t.Errorf("%d reads in %v, want %d in %v", reads, waited, tt.wantReads, tt.wantWait)
				}
				if err == nil && (pod.Spec.ServiceAccountName != "default" || len(pod.Spec.Volumes) != 1) {
					t.Errorf("admitted as %+v", pod.Spec)
				}
			})
		})
	}
}
