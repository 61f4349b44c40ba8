// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/hivemind-project/hivemind/test/clients/operator/api/v1"
	"github.com/hivemind-project/hivemind/test/clients/operator/api/v1alpha1"
)

// TestOperator installs an operator made with controller-runtime and uses what it serves: first while it runs as a program beside the
// cluster, with webhooks by URL, then in the cluster, from an image, with webhooks by a Service and the rights of its ServiceAccount.
func TestOperator(t *testing.T) {
	t.Parallel()
	t.Run("outside", func(t *testing.T) {
		o := newOperator(t)
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		ca, dir := certificates(t, "127.0.0.1")
		o.install(t, ca, func(path string) (*string, *admissionv1.ServiceReference) {
			url := "https://127.0.0.1:" + strconv.Itoa(port) + path
			return &url, nil
		})
		program := inBackground(t, o.command(port, dir))
		o.answers(t)
		o.use(t)
		t.Run("webhooks that do not answer", func(t *testing.T) {
			program.end()
			err := o.Create(t.Context(), &v1.Website{ObjectMeta: o.meta("unheard")})
			if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), `failed calling webhook "default.sites.example.org"`) {
				t.Errorf("a creation: %v", err)
			}
			err = o.List(t.Context(), &v1alpha1.WebsiteList{}, client.InNamespace(o.namespace))
			if err == nil || !strings.Contains(err.Error(), "conversion webhook for sites.example.org/v1, Kind=Website failed") {
				t.Errorf("a list that needs conversion: %v", err)
			}
		})
		// It comes back, and ends what it has begun.
		inBackground(t, o.command(port, dir))
		o.answers(t)
		o.clear(t)
	})
	t.Run("inside", func(t *testing.T) {
		if shared.registry == "" {
			t.Skip("HIVEMIND_TEST_KUBECONFIG names a cluster that gets no images from here")
		}
		if err := pushOperator(t.Context()); err != nil {
			t.Fatal(err)
		}
		o := newOperator(t)
		ca, dir := certificates(t, "website-operator."+o.namespace+".svc")
		secret := &corev1.Secret{ObjectMeta: o.meta("website-operator-webhooks"), Type: corev1.SecretTypeTLS, Data: map[string][]byte{}}
		for _, name := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			secret.Data[name] = data
		}
		o.create(t, secret)
		o.create(t, o.decode(t, "operator.yaml")...)
		o.install(t, ca, func(path string) (*string, *admissionv1.ServiceReference) {
			return nil, &admissionv1.ServiceReference{Namespace: o.namespace, Name: "website-operator", Path: &path}
		})
		o.answers(t)
		o.use(t)
		t.Run("the leader goes", func(t *testing.T) {
			leader := o.leader(t)
			pod, _, _ := strings.Cut(leader, "_") // the host's name, and a number
			if err := o.Delete(t.Context(), &corev1.Pod{ObjectMeta: o.meta(pod)}, client.GracePeriodSeconds(0)); err != nil {
				t.Fatal(err)
			}
			o.eventually(t, "another leader", func(ctx context.Context) error {
				if now := o.leader(t); now == leader || now == "" {
					return fmt.Errorf("the leader is %q", now)
				}
				return nil
			})
			o.create(t, &v1.Website{ObjectMeta: o.meta("later")})
			o.ready(t, "later", 1)
		})
		o.clear(t)
	})
}

// operator is what the two ways to run it have in common.
type operator struct {
	client.Client
	namespace string
	warnings  *warnings
}

func newOperator(t *testing.T) *operator {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, apiextensionsv1.AddToScheme, v1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	o := &operator{namespace: namespace(t), warnings: &warnings{}}
	config := rest.CopyConfig(shared.rest)
	config.WarningHandlerWithContext = o.warnings
	// The mapper learns of the kind when it is asked for it; until then it is not there.
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	o.Client = c
	return o
}

func (o *operator) command(port int, certificates string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(shared.root, "build/clients/operator"), "-namespace", o.namespace, "-webhook-port", strconv.Itoa(port),
		"-cert-dir", certificates, "-health-probe-bind-address", "0")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+shared.kubeconfig)
	return cmd
}

// install creates the definition and the webhooks; at says where a path of the operator is. They go with the test.
func (o *operator) install(t *testing.T, ca []byte, at func(path string) (*string, *admissionv1.ServiceReference)) {
	t.Helper()
	objects := append(o.decode(t, "crd.yaml"), o.decode(t, "webhooks.yaml")...)
	for _, object := range objects {
		var configs []*admissionv1.WebhookClientConfig
		switch object := object.(type) {
		case *apiextensionsv1.CustomResourceDefinition:
			url, service := at("/convert")
			config := &apiextensionsv1.WebhookClientConfig{URL: url, CABundle: ca}
			if service != nil {
				config.Service = &apiextensionsv1.ServiceReference{Namespace: service.Namespace, Name: service.Name, Path: service.Path}
			}
			object.Spec.Conversion.Webhook.ClientConfig = config
		case *admissionv1.MutatingWebhookConfiguration:
			for i := range object.Webhooks {
				configs = append(configs, &object.Webhooks[i].ClientConfig)
			}
		case *admissionv1.ValidatingWebhookConfiguration:
			for i := range object.Webhooks {
				configs = append(configs, &object.Webhooks[i].ClientConfig)
			}
		}
		for _, config := range configs {
			config.URL, config.Service = at(*config.Service.Path)
			config.CABundle = ca
		}
	}
	o.create(t, objects...)
	t.Cleanup(func() {
		for _, object := range slices.Backward(objects) {
			if err := o.Delete(context.Background(), object); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		}
		gone := func(ctx context.Context) (bool, error) {
			err := o.Get(ctx, client.ObjectKeyFromObject(objects[0]), objects[0])
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		}
		if err := wait.PollUntilContextTimeout(context.Background(), 50*time.Millisecond, patience, true, gone); err != nil {
			t.Errorf("the definition is still there: %v", err)
		}
	})
}

// decode reads the objects of a file in operator/config, which get the namespace of the test where they have one.
func (o *operator) decode(t *testing.T, file string) []client.Object {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("operator", "config", file))
	if err != nil {
		t.Fatal(err)
	}
	var objects []client.Object
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		object, _, err := serializer.NewCodecFactory(o.Scheme(), serializer.EnableStrict).UniversalDeserializer().Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		o := object.(client.Object)
		objects = append(objects, o)
	}
	for _, object := range objects {
		switch object := object.(type) {
		case *apiextensionsv1.CustomResourceDefinition, *admissionv1.MutatingWebhookConfiguration, *admissionv1.ValidatingWebhookConfiguration:
		default:
			object.SetNamespace(o.namespace)
		}
	}
	return objects
}

func (o *operator) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		if err := o.Create(t.Context(), object); err != nil {
			t.Fatalf("create %T %s: %v", object, object.GetName(), err)
		}
	}
}

// answers waits until the webhooks do.
func (o *operator) answers(t *testing.T) {
	t.Helper()
	o.eventually(t, "an answer of the webhooks", func(ctx context.Context) error {
		return o.Create(ctx, &v1.Website{ObjectMeta: o.meta("probe")}, client.DryRunAll)
	})
}

// use is a Website's life: written in one version and read in the other, with what the webhooks add and refuse, and what becomes of it.
func (o *operator) use(t *testing.T) {
	t.Run("two versions", func(t *testing.T) {
		two := int32(2)
		o.create(t, &v1alpha1.Website{ObjectMeta: o.meta("old"), Spec: v1alpha1.WebsiteSpec{Title: "By the old version", Instances: &two}})
		o.warned(t, "sites.example.org/v1alpha1 Website is deprecated; use v1")
		site := o.ready(t, "old", 2)
		if site.Spec.Page.Title != "By the old version" || *site.Spec.Replicas != 2 {
			t.Errorf("read in v1: %+v", site.Spec)
		}
		list := &v1alpha1.WebsiteList{}
		if err := o.List(t.Context(), list, client.InNamespace(o.namespace)); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 || *list.Items[0].Spec.Instances != 2 || list.Items[0].Status.Running != 2 || !meta.IsStatusConditionTrue(list.Items[0].Status.Conditions, v1.Ready) {
			t.Errorf("listed in v1alpha1: %+v", list.Items)
		}
		old := &list.Items[0]
		if old.Spec.Image != "registry.hivemind.local/guestbook-web:1" {
			t.Errorf("what is written in v1alpha1 did not get the defaults of v1: %+v", old.Spec)
		}
		w, err := o.Client.(client.WithWatch).Watch(t.Context(), &v1alpha1.WebsiteList{}, client.InNamespace(o.namespace), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		const title = "Changed by the old version"
		if err := o.Patch(t.Context(), old, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"title":"`+title+`"}}`))); err != nil {
			t.Fatal(err)
		}
		o.eventually(t, "the new title in the watch", func(ctx context.Context) error {
			select {
			case event := <-w.ResultChan(): // a change of the status may come before
				if seen, ok := event.Object.(*v1alpha1.Website); !ok || event.Type != watch.Modified || seen.Spec.Title != title {
					return fmt.Errorf("%s %+v", event.Type, event.Object)
				}
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		o.eventually(t, "the new title in the page", func(ctx context.Context) error {
			page := &corev1.ConfigMap{}
			if err := o.Get(ctx, o.key("old"), page); err != nil || page.Data["title"] != title {
				return fmt.Errorf("%v %v", page.Data, err)
			}
			return nil
		})
	})
	t.Run("defaults and what follows", func(t *testing.T) {
		o.create(t, &v1.Website{ObjectMeta: o.meta("new"), Spec: v1.WebsiteSpec{Page: v1.Page{Title: "Made by an operator"}}})
		site := o.ready(t, "new", 1)
		if site.Spec.Image == "" || site.Spec.Replicas == nil || *site.Spec.Replicas != 1 {
			t.Errorf("without defaults: %+v", site.Spec)
		}
		service, deployment, pods := &corev1.Service{}, &appsv1.Deployment{}, &corev1.PodList{}
		if err := errors.Join(o.Get(t.Context(), o.key("new"), service), o.Get(t.Context(), o.key("new"), deployment),
			o.List(t.Context(), pods, client.InNamespace(o.namespace), client.MatchingLabels{"app.kubernetes.io/name": "new"})); err != nil {
			t.Fatal(err)
		}
		for _, owned := range []client.Object{service, deployment} {
			if owner := metav1.GetControllerOf(owned); owner == nil || owner.UID != site.UID {
				t.Errorf("%T is owned by %v", owned, owner)
			}
		}
		for _, pod := range pods.Items {
			if pod.Annotations["sites.example.org/admitted-for"] != "system:serviceaccount:kube-system:replicaset-controller" {
				t.Errorf("pod %s was admitted with annotations %v", pod.Name, pod.Annotations)
			}
		}
		if len(pods.Items) != 1 {
			t.Errorf("%d pods", len(pods.Items))
		}
		o.eventually(t, "the page", func(context.Context) error {
			page, err := get(&http.Client{Timeout: 10 * time.Second}, "http://"+service.Spec.ClusterIP+"/info")
			if err == nil && !strings.Contains(string(page), "Made by an operator") {
				err = fmt.Errorf("%s", page)
			}
			return err
		})
		// What somebody takes away comes back.
		if err := o.Delete(t.Context(), service); err != nil {
			t.Fatal(err)
		}
		o.eventually(t, "the service again", func(ctx context.Context) error { return o.Get(ctx, o.key("new"), &corev1.Service{}) })
		o.eventually(t, "an event", func(ctx context.Context) error {
			events := &corev1.EventList{}
			err := o.List(ctx, events, client.InNamespace(o.namespace), client.MatchingFields{"involvedObject.name": "new", "reason": "Served"})
			if err == nil && len(events.Items) == 0 {
				err = errors.New("none")
			}
			return err
		})
	})
	t.Run("what is refused", func(t *testing.T) {
		nine := int32(9)
		err := o.Create(t.Context(), &v1.Website{ObjectMeta: o.meta("large"), Spec: v1.WebsiteSpec{Replicas: &nine}})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.replicas: Invalid value: 9: must be less than or equal to 5") ||
			!apierrors.HasStatusCause(err, metav1.CauseTypeFieldValueInvalid) {
			t.Errorf("more replicas than there may be: %v", err)
		}
		o.warned(t, "spec.page.title: a page without a title looks unfinished")
		err = o.Create(t.Context(), &v1alpha1.Website{ObjectMeta: o.meta("large"), Spec: v1alpha1.WebsiteSpec{Instances: &nine}})
		if !apierrors.IsInvalid(err) {
			t.Errorf("the same in the old version: %v", err)
		}
		if err := o.Create(t.Context(), &v1.Website{ObjectMeta: o.meta("dry")}, client.DryRunAll); err != nil {
			t.Error(err)
		}
		if err := o.Get(t.Context(), o.key("dry"), &v1.Website{}); !apierrors.IsNotFound(err) {
			t.Errorf("what was created by a dry run: %v", err)
		}
	})
	t.Run("the end", func(t *testing.T) {
		site := &v1.Website{ObjectMeta: o.meta("new")}
		protect := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"sites.example.org/protected":"yes"}}}`))
		if err := o.Patch(t.Context(), site, protect); err != nil {
			t.Fatal(err)
		}
		if err := o.Delete(t.Context(), site); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "remove it first") {
			t.Errorf("the end of one that is protected: %v", err)
		}
		free := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":null}}`))
		if err := errors.Join(o.Patch(t.Context(), site, free), o.Delete(t.Context(), site)); err != nil {
			t.Fatal(err)
		}
		o.gone(t, "new")
		note := &corev1.ConfigMap{}
		if err := o.Get(t.Context(), o.key("farewell-new"), note); err != nil || note.Data["title"] != "Made by an operator" {
			t.Errorf("the note of the finalizer: %v %v", note.Data, err)
		}
	})
}

// clear deletes all Websites, while there is somebody who lets them go.
func (o *operator) clear(t *testing.T) {
	t.Helper()
	if err := o.DeleteAllOf(t.Context(), &v1.Website{}, client.InNamespace(o.namespace)); err != nil {
		t.Fatal(err)
	}
	o.eventually(t, "the end of all Websites", func(ctx context.Context) error {
		list := &v1.WebsiteList{}
		if err := o.List(ctx, list, client.InNamespace(o.namespace)); err != nil || len(list.Items) > 0 {
			return fmt.Errorf("%d are left: %v", len(list.Items), err)
		}
		return nil
	})
}

// ready waits until a Website is, with the replicas.
func (o *operator) ready(t *testing.T, name string, replicas int32) *v1.Website {
	t.Helper()
	site := &v1.Website{}
	o.eventually(t, "Website "+name, func(ctx context.Context) error {
		if err := o.Get(ctx, o.key(name), site); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(site.Status.Conditions, v1.Ready); c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != site.Generation || site.Status.Available != replicas {
			return fmt.Errorf("status %+v of generation %d", site.Status, site.Generation)
		}
		return nil
	})
	return site
}

// gone waits until a Website and all that it owned are.
func (o *operator) gone(t *testing.T, name string) {
	t.Helper()
	o.eventually(t, "the end of "+name, func(ctx context.Context) error {
		for _, object := range []client.Object{&v1.Website{}, &appsv1.Deployment{}, &corev1.Service{}, &corev1.ConfigMap{}} {
			if err := o.Get(ctx, o.key(name), object); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%T: %v", object, err)
			}
		}
		return nil
	})
}

// leader is who holds the operator's Lease.
func (o *operator) leader(t *testing.T) string {
	t.Helper()
	lease := &coordinationv1.Lease{}
	if err := o.Get(t.Context(), o.key("website-operator"), lease); err != nil {
		t.Fatal(err)
	}
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

func (o *operator) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: o.namespace}
}

func (o *operator) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: o.namespace, Name: name}
}

// eventually tries until there is no error.
func (o *operator) eventually(t *testing.T, what string, try func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		last = try(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("waited %v in vain for %s: %v", patience, what, last)
	}
}
