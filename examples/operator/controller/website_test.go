// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	websitev1 "github.com/hivemind-project/hivemind/examples/operator/api/v1"
	"github.com/hivemind-project/hivemind/examples/operator/controller"
	"github.com/hivemind-project/hivemind/pkg/testenv"
)

// world is a cluster in which the operator runs, with the rights of its role and no others.
type world struct {
	*testing.T
	client.Client // the administrator's
	domains       *registrar
}

// newWorld starts a cluster and the operator. Each test has a cluster of its own, so they run beside each other and find no remains.
func newWorld(t *testing.T) *world {
	t.Helper()
	env := testenv.Start(t, testenv.Options{CRDs: testenv.CRDs{Paths: []string{"../config/crd"}}})
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, websitev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	admin, err := client.New(env.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	operator, err := env.User(t.Context(), testenv.User{Name: "system:serviceaccount:websites:operator", Rules: rules(t, "../config/rbac/role.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	manyTimes := true // controller-runtime wants the names of controllers to be unique in a process
	mgr, err := ctrl.NewManager(operator, ctrl.Options{
		Scheme: scheme, Metrics: server.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &manyTimes},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, Client: admin, domains: &registrar{}}
	if err := (&controller.Reconciler{Client: mgr.GetClient(), Domains: w.domains}).SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() { // before the cluster stops
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the operator ended: %v", err)
		}
	})
	return w
}

// rules are those of the ClusterRole in a file.
func rules(t *testing.T, path string) []rbacv1.PolicyRule {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(text, role); err != nil {
		t.Fatal(err)
	}
	return role.Rules
}

// eventually waits for what the operator and the cluster bring about.
func (w *world) eventually(what string, done func() error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := done()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			w.Fatalf("%s: %v", what, err)
		}
	}
}

func (w *world) create(replicas int32) *websitev1.Website {
	w.Helper()
	site := &websitev1.Website{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "blog"},
		Spec: websitev1.WebsiteSpec{Image: "registry.test/blog:1", Replicas: &replicas, Domain: "blog.example.com"}}
	if err := w.Create(w.Context(), site); err != nil {
		w.Fatal(err)
	}
	return site
}

// served waits for the website to say that its replicas serve it.
func (w *world) served(site *websitev1.Website, replicas int32) {
	w.Helper()
	w.eventually(fmt.Sprintf("the website to be served by %d replicas", replicas), func() error {
		if err := w.Get(w.Context(), client.ObjectKeyFromObject(site), site); err != nil {
			return err
		}
		c := meta.FindStatusCondition(site.Status.Conditions, websitev1.Ready)
		if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != site.Generation || site.Status.AvailableReplicas != replicas {
			return fmt.Errorf("status %+v", site.Status)
		}
		return nil
	})
}

func (w *world) pods() []corev1.Pod {
	w.Helper()
	list := &corev1.PodList{}
	if err := w.List(w.Context(), list, client.InNamespace("default")); err != nil {
		w.Fatal(err)
	}
	return list.Items
}

// The Deployment that the operator makes rolls out: its pods are scheduled, run and become ready, and the status follows.
func TestWebsiteIsServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.create(2)
	w.served(site, 2)
	if got := w.domains.of("default/blog"); got != "blog.example.com" {
		t.Errorf("registered domain %q", got)
	}
	three := int32(3)
	site.Spec.Replicas, site.Spec.Image = &three, "registry.test/blog:2"
	if err := w.Update(t.Context(), site); err != nil {
		t.Fatal(err)
	}
	w.served(site, 3)
	for _, pod := range w.pods() {
		if image := pod.Spec.Containers[0].Image; pod.DeletionTimestamp == nil && image != "registry.test/blog:2" {
			t.Errorf("pod %s runs %s", pod.Name, image)
		}
	}
}

// A deleted website goes once its domain has been released; the cluster collects its Deployment, and that one's pods.
func TestWebsiteIsRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.create(1)
	w.served(site, 1)
	w.domains.fail(fmt.Errorf("the registrar is closed"))
	if err := w.Delete(t.Context(), site); err != nil {
		t.Fatal(err)
	}
	w.eventually("the operator to try to release the domain", w.domains.tried)
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(site), site); err != nil {
		t.Fatalf("the website has gone before its domain was released: %v", err)
	}
	w.domains.fail(nil)
	w.eventually("the website and all of its objects to go", func() error {
		err := w.Get(t.Context(), client.ObjectKeyFromObject(site), &websitev1.Website{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the website is there: %v", err)
		}
		err = w.Get(t.Context(), client.ObjectKeyFromObject(site), &appsv1.Deployment{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("its Deployment is there: %v", err)
		}
		if pods := w.pods(); len(pods) > 0 {
			return fmt.Errorf("%d pods are there", len(pods))
		}
		return nil
	})
	if got := w.domains.of("default/blog"); got != "" {
		t.Errorf("domain %q is still registered", got)
	}
}

// What others do to the Deployment is undone.
func TestDeploymentIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.create(1)
	w.served(site, 1)
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: site.Name}}
	if err := w.Delete(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	w.eventually("the Deployment to be made again", func() error {
		return w.Get(t.Context(), client.ObjectKeyFromObject(site), &appsv1.Deployment{})
	})
	w.served(site, 1)
}

// The definition's schema refuses what makes no sense, and fills in what is left out.
func TestSpecIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	minus := int32(-1)
	bad := &websitev1.Website{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bad"}, Spec: websitev1.WebsiteSpec{Image: "i", Replicas: &minus, Domain: "d"}}
	if err := w.Create(t.Context(), bad); !apierrors.IsInvalid(err) {
		t.Errorf("a website with -1 replicas: %v", err)
	}
	short := &websitev1.Website{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "short"}, Spec: websitev1.WebsiteSpec{Image: "i", Domain: "d"}}
	if err := w.Create(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	if short.Spec.Replicas == nil || *short.Spec.Replicas != 1 {
		t.Errorf("replicas by default: %v", short.Spec.Replicas)
	}
}

// registrar remembers domains.
type registrar struct {
	mu       sync.Mutex
	domains  map[string]string
	failure  error
	attempts int
}

func (r *registrar) Register(_ context.Context, domain, website string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.domains == nil {
		r.domains = map[string]string{}
	}
	r.domains[website] = domain
	return nil
}

func (r *registrar) Release(_ context.Context, website string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts++
	if r.failure != nil {
		return r.failure
	}
	delete(r.domains, website)
	return nil
}

func (r *registrar) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = err
}

func (r *registrar) tried() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.attempts == 0 {
		return fmt.Errorf("no attempt")
	}
	return nil
}

func (r *registrar) of(website string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.domains[website]
}
