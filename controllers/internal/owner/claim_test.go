// SPDX-License-Identifier: Apache-2.0

package owner

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

func TestClaim(t *testing.T) {
	set := &metav1.ObjectMeta{Namespace: "n", Name: "set", UID: "set"}
	leaving := set.DeepCopy()
	leaving.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	other := set.DeepCopy()
	other.UID = "other"
	kind := corev1.SchemeGroupVersion.WithKind("ReplicationController")
	pod := func(app string, owner *metav1.ObjectMeta, edit ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", UID: "p", Labels: map[string]string{"app": app}}}
		if owner != nil {
			p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)}
		}
		for _, e := range edit {
			e(p)
		}
		return p
	}
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }
	elsewhere := func(p *corev1.Pod) { p.Namespace = "m" }
	gone := apierrors.NewNotFound(corev1.Resource("pods"), "p")
	for _, tc := range []struct {
		name    string
		owner   *metav1.ObjectMeta
		live    *metav1.ObjectMeta
		pod     *corev1.Pod
		refusal error
		claimed bool
		patch   string // what the patch says; empty for none
		failed  string
	}{
		{name: "its own", owner: set, live: set, pod: pod("web", set), claimed: true},
		{name: "its own though both are leaving", owner: leaving, live: leaving, pod: pod("web", set, deleted), claimed: true},
		{name: "somebody else's", owner: set, live: set, pod: pod("web", other)},
		{name: "a free one that matches", owner: set, live: set, pod: pod("web", nil), claimed: true, patch: `"controller":true`},
		{name: "a free one that does not", owner: set, live: set, pod: pod("db", nil)},
		{name: "a free one that is leaving", owner: set, live: set, pod: pod("web", nil, deleted)},
		{name: "a free one elsewhere", owner: set, live: set, pod: pod("web", nil, elsewhere)},
		{name: "a leaving owner adopts nothing", owner: leaving, live: leaving, pod: pod("web", nil)},
		{name: "nor one that the cache shows alive", owner: set, live: leaving, pod: pod("web", nil), failed: "has just been deleted"},
		{name: "nor one that was replaced", owner: set, live: other, pod: pod("web", nil), failed: "is gone: got uid other, wanted set"},
		{name: "its own that matches no longer", owner: set, live: set, pod: pod("db", set), patch: `"$patch":"delete"`},
		{name: "a leaving owner keeps that", owner: leaving, live: leaving, pod: pod("db", set)},
		{name: "adoption comes too late", owner: set, live: set, pod: pod("web", nil), refusal: gone, patch: `"controller":true`},
		{name: "release comes too late", owner: set, live: set, pod: pod("db", set), refusal: gone, patch: `"$patch":"delete"`},
		{name: "adoption fails", owner: set, live: set, pod: pod("web", nil), refusal: errors.New("no"), patch: `"controller":true`, failed: "adopt n/p: no"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			patch, asked := "", 0
			c := &Claimer[*corev1.Pod]{
				Owner: tc.owner, Kind: kind, Selector: labels.SelectorFromSet(labels.Set{"app": "web"}),
				Live: func(context.Context) (metav1.Object, error) { asked++; return tc.live, nil },
				Patch: func(_ context.Context, _ *corev1.Pod, body []byte) error {
					patch = string(body)
					return tc.refusal
				},
			}
			claimed, err := c.Claim(context.Background(), []*corev1.Pod{tc.pod, pod("db", other)})
			if (len(claimed) == 1) != tc.claimed || len(claimed) > 1 {
				t.Errorf("claimed %v", claimed)
			}
			if (patch == "") != (tc.patch == "") || !strings.Contains(patch, tc.patch) || (patch != "" && !strings.Contains(patch, `"uid":"p"`)) {
				t.Errorf("patch %s", patch)
			}
			if (err == nil) != (tc.failed == "") || (err != nil && !strings.Contains(err.Error(), tc.failed)) {
				t.Errorf("error %v", err)
			}
			if asked > 1 {
				t.Errorf("the owner was read %d times", asked)
			}
		})
	}
}

func TestReleasePatch(t *testing.T) {
	patch, err := ReleasePatch("uid", []string{"f"}, types.UID("a"), types.UID("b"))
	want := `{"metadata":{"$deleteFromPrimitiveList/finalizers":["f"],"ownerReferences":[{"$patch":"delete","uid":"a"},{"$patch":"delete","uid":"b"}],"uid":"uid"}}`
	if err != nil || string(patch) != want {
		t.Errorf("got %s, %v", patch, err)
	}
}
