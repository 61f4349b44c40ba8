// SPDX-License-Identifier: Apache-2.0

package resourceclaim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func start(t *testing.T, objects ...runtime.Object) *testcluster.Cluster {
	t.Helper()
	c := testcluster.New(t, objects...)
	devices := c.Informers.Resource().V1()
	controller, err := New(c.Client, c.Informers.Core().V1().Pods(), devices.ResourceClaims(), devices.ResourceClaimTemplates(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 2) })
	return c
}

func pod(name, node string, claims ...corev1.PodResourceClaim) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-of-" + name)},
		Spec:       corev1.PodSpec{NodeName: node, ResourceClaims: claims},
	}
}

func byTemplate(name string) corev1.PodResourceClaim {
	return corev1.PodResourceClaim{Name: name, ResourceClaimTemplateName: new("gpus")}
}

func template() *resourcev1.ResourceClaimTemplate {
	return &resourcev1.ResourceClaimTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "gpus"},
		Spec: resourcev1.ResourceClaimTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}, Annotations: map[string]string{"note": "y"}},
			Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
				{Name: "gpu", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu.example.com"}}}}},
		},
	}
}

// claim is one that the scheduler allocated, for these pods.
func claim(name string, owner *corev1.Pod, users ...string) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-of-" + name), Finalizers: []string{resourcev1.Finalizer}},
		Status:     resourcev1.ResourceClaimStatus{Allocation: &resourcev1.AllocationResult{}},
	}
	if owner != nil {
		c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: owner.Name, UID: owner.UID, Controller: new(true)}}
	}
	for _, user := range users {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: user, UID: types.UID("uid-of-" + user)})
	}
	return c
}

func claims(t *testing.T, c *testcluster.Cluster) []resourcev1.ResourceClaim {
	t.Helper()
	list, err := c.Client.ResourceV1().ResourceClaims("ns").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func TestMakesClaims(t *testing.T) {
	c := start(t, pod("p", "", byTemplate("one"), byTemplate("two"), corev1.PodResourceClaim{Name: "own", ResourceClaimName: new("mine")}))
	c.Eventually("an event that there is no template", func() error {
		want := `Warning FailedResourceClaimCreation PodResourceClaim one: resource claim template "gpus": resourceclaimtemplate.resource.k8s.io "gpus" not found`
		if lines := c.Events.Lines(); !slices.Contains(lines, want) {
			return fmt.Errorf("events %q", lines)
		}
		return nil
	})
	if _, err := c.Client.ResourceV1().ResourceClaimTemplates("ns").Create(t.Context(), template(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	c.Eventually("both claims told of", func() error {
		p, err := c.Client.CoreV1().Pods("ns").Get(t.Context(), "p", metav1.GetOptions{})
		if err != nil {
			return err
		}
		clear(names)
		for _, s := range p.Status.ResourceClaimStatuses {
			names[s.Name] = *s.ResourceClaimName
		}
		if len(names) != 2 || names["one"] == "" || names["two"] == "" {
			return fmt.Errorf("statuses %v", names)
		}
		return nil
	})
	made := claims(t, c)
	if len(made) != 2 {
		t.Fatalf("made %d claims", len(made))
	}
	for _, m := range made {
		name := m.Annotations[resourcev1.PodResourceClaimAnnotation]
		if names[name] != m.Name || !strings.HasPrefix(m.Name, "p-"+name+"-") {
			t.Errorf("claim %s is for %q, the pod calls it %q", m.Name, name, names[name])
		}
		want := claimOf(pod("p", ""), name, template())
		is := &resourcev1.ResourceClaim{Spec: m.Spec, ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, GenerateName: m.GenerateName,
			Labels: m.Labels, Annotations: m.Annotations, OwnerReferences: m.OwnerReferences}}
		if diff := cmp.Diff(want, is); diff != "" {
			t.Error(diff)
		}
	}
}

// TestMakesNoClaimTwice has the first attempts to tell of a claim fail.
func TestMakesNoClaimTwice(t *testing.T) {
	c := testcluster.New(t, template())
	failures := 3 // the fake client handles one request at a time
	c.Client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		failures--
		return failures >= 0, nil, errors.New("not now")
	})
	devices := c.Informers.Resource().V1()
	controller, err := New(c.Client, c.Informers.Core().V1().Pods(), devices.ResourceClaims(), devices.ResourceClaimTemplates(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 2) })
	if _, err := c.Client.CoreV1().Pods("ns").Create(t.Context(), pod("p", "", byTemplate("one")), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("the claim told of", func() error {
		p, err := c.Client.CoreV1().Pods("ns").Get(t.Context(), "p", metav1.GetOptions{})
		if err != nil || len(p.Status.ResourceClaimStatuses) == 0 {
			return errors.Join(errors.New("no status"), err)
		}
		return nil
	})
	made := claims(t, c)
	if len(made) != 1 {
		t.Fatalf("made %d claims", len(made))
	}
	c.Eventually("nothing to remember once the caches know", func() error {
		if name := controller.made.claim("uid-of-p", "one"); name != "" {
			return fmt.Errorf("remembers %s", name)
		}
		return nil
	})
	// One that is deleted by mistake is made anew.
	if err := c.Client.ResourceV1().ResourceClaims("ns").Delete(t.Context(), made[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("the claim made anew", func() error {
		p, err := c.Client.CoreV1().Pods("ns").Get(t.Context(), "p", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if now := claims(t, c); len(now) != 1 || *p.Status.ResourceClaimStatuses[0].ResourceClaimName != now[0].Name {
			return fmt.Errorf("claims %v, status %v", now, p.Status.ResourceClaimStatuses)
		}
		return nil
	})
}

func TestFreesClaims(t *testing.T) {
	running, ended := pod("running", "n"), pod("ended", "n", byTemplate("one"))
	ended.Status.Phase = corev1.PodSucceeded
	ended.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "one", ResourceClaimName: new("made")}}
	shared, unused, foreign, idle := claim("shared", nil, "running", "ended", "gone"), claim("unused", nil, "ended"), claim("foreign", nil), claim("idle", nil)
	foreign.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{APIGroup: "example.com", Resource: "robots", Name: "r", UID: "r"}}
	replaced := claim("replaced", nil, "running")
	replaced.Status.ReservedFor[0].UID = "of-another"
	deleted := claim("deleted", nil)
	deleted.DeletionTimestamp = new(metav1.Now())
	c := start(t, running, ended, shared, unused, foreign, idle, replaced, deleted, claim("made", ended, "ended"), claim("kept", running), template())

	type state struct {
		Users     int
		Allocated bool
		Held      bool
	}
	want := map[string]state{
		"shared": {1, true, true}, "unused": {}, "foreign": {1, true, true}, "replaced": {},
		"idle":    {0, true, true}, // allocated by hand: never was reserved
		"kept":    {0, true, true}, // its pod runs
		"deleted": {},              // with its finalizer, a server deletes it
	}
	c.Eventually("what is not needed freed", func() error {
		is := map[string]state{}
		for _, claim := range claims(t, c) {
			is[claim.Name] = state{len(claim.Status.ReservedFor), claim.Status.Allocation != nil, len(claim.Finalizers) > 0}
		}
		if diff := cmp.Diff(want, is); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

func TestReservesForPodsOnNodes(t *testing.T) {
	own := corev1.PodResourceClaim{Name: "own", ResourceClaimName: new("mine")}
	foreign := corev1.PodResourceClaim{Name: "foreign", ResourceClaimName: new("foreign")}
	c := start(t, pod("bound", "n", own, foreign), pod("waiting", "", own), claim("mine", nil), claim("foreign", pod("other", "n")), pod("other", "n"))
	c.Eventually("the claim reserved for the bound pod alone", func() error {
		is, err := c.Client.ResourceV1().ResourceClaims("ns").Get(t.Context(), "mine", metav1.GetOptions{})
		if err != nil {
			return err
		}
		want := []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "bound", UID: "uid-of-bound"}}
		if diff := cmp.Diff(want, is.Status.ReservedFor); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	is, err := c.Client.ResourceV1().ResourceClaims("ns").Get(t.Context(), "foreign", metav1.GetOptions{})
	if err != nil || len(is.Status.ReservedFor) > 0 {
		t.Errorf("another pod's claim is reserved: %v, %v", is.Status.ReservedFor, err)
	}
}

// TestPodGone deletes the user of a claim, and the pod that another was made for.
func TestPodGone(t *testing.T) {
	user := pod("user", "n", corev1.PodResourceClaim{Name: "own", ResourceClaimName: new("mine")})
	c := start(t, user, claim("mine", nil, "user"))
	if err := c.Client.CoreV1().Pods("ns").Delete(t.Context(), "user", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("the claim free", func() error {
		is, err := c.Client.ResourceV1().ResourceClaims("ns").Get(t.Context(), "mine", metav1.GetOptions{})
		if err != nil || len(is.Status.ReservedFor) > 0 || is.Status.Allocation != nil || len(is.Finalizers) > 0 {
			return errors.Join(fmt.Errorf("it is %v", is), err)
		}
		return nil
	})
	if _, err := c.Client.CoreV1().Pods("ns").Get(t.Context(), "user", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pod: %v", err)
	}
}

func TestGenerateName(t *testing.T) {
	long := strings.Repeat("p", 60)
	for _, test := range []struct{ pod, claim, want string }{
		{"web", "gpu", "web-gpu-"},
		{strings.Repeat("p", 52), "gpu", strings.Repeat("p", 52) + "-gpu-"},
		{long, "gpu", strings.Repeat("p", 52) + "-gp"},
		{"web", long, "we-" + strings.Repeat("p", 52)},
	} {
		got := generateName(test.pod, test.claim)
		if got != test.want || len(got) > 58 {
			t.Errorf("%s, %s: %s (%d)", test.pod, test.claim, got, len(got))
		}
	}
}
