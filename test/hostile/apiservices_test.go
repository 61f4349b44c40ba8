// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/utils/ptr"
)

// strangeServer is an aggregated server that misbehaves.
type strangeServer struct {
	group     string
	answer    http.HandlerFunc
	available bool // whether it passes for available: a server need do no more for that than answer
}

var strangeServers = []strangeServer{
	{"hangs.hostile.example.com", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false},
	{"never-ends.hostile.example.com", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		neverEnd(w, r)
	}, true},
	{"drips.hostile.example.com", drip, true},
	{"redirects.hostile.example.com", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
	}, false},
	{sprawls, sprawlingDocuments, true},
}

const sprawls = "sprawls.hostile.example.com"

// sprawlingDocuments tells of as many things as there is room for in 15 MiB.
func sprawlingDocuments(w http.ResponseWriter, r *http.Request) {
	const things = 5_000_000
	list := "[" + strings.Repeat("{},", things) + "{}]"
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/apis":
		w.Header().Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
		fmt.Fprintf(w, `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":{"name":"%s"},"versions":[{"version":"v1","resources":%s}]}]}`, sprawls, list)
	case "/openapi/v2":
		fmt.Fprint(w, `{"swagger":"2.0","info":{"title":"x","version":"1"},"paths":{},"definitions":{`)
		for i := range 1_000_000 {
			fmt.Fprintf(w, `"a%d":{},`, i)
		}
		fmt.Fprint(w, `"b":{}}}`)
	case "/openapi/v3":
		fmt.Fprintf(w, `{"paths":{"apis/%s/v1":{"serverRelativeURL":"/openapi/v3/apis/%s/v1?hash=1"}}}`, sprawls, sprawls)
	default:
		fmt.Fprintf(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"%s/v1","resources":%s}`, sprawls, list)
	}
}

// apiServices are aggregated servers that hang or answer without end. Discovery is answered without them, and namespaces are emptied.
func apiServices(t *testing.T, s *suite) {
	client, registry := kubernetes.NewForConfigOrDie(s.admin), aggregator.NewForConfigOrDie(s.admin).ApiregistrationV1().APIServices()
	for _, strange := range strangeServers {
		s.registerServer(t, strange)
	}
	for _, strange := range strangeServers {
		soon(t, strange.group+" is known to be available, or not", func(ctx context.Context) (bool, error) {
			service, err := registry.Get(ctx, "v1."+strange.group, metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			c := helper.GetAPIServiceConditionByType(service, apiregistrationv1.Available)
			if c == nil || (c.Status == apiregistrationv1.ConditionTrue) != strange.available {
				return false, nil
			}
			what, _, _ := strings.Cut(c.Message, " https://localhost:")
			if !strange.available && (c.Reason != "FailedDiscoveryCheck" || what != "failing or missing response from" && what != "timed out waiting for") {
				t.Errorf("%s: %s %s", strange.group, c.Reason, c.Message)
			}
			return true, nil
		})
	}
	err := client.RESTClient().Get().AbsPath("/apis/hangs.hostile.example.com/v1/things").Do(t.Context()).Error()
	expect(t, err, "503 ServiceUnavailable the server is currently unable to handle the request")

	soon(t, "clients learn what is served, and which groups do not answer", func(context.Context) (bool, error) {
		_, lists, err := client.Discovery().ServerGroupsAndResources()
		failed, partly := discovery.GroupDiscoveryFailedErrorGroups(err)
		return partly && len(failed) == len(strangeServers) && len(lists) > 20, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, path := range []string{"/apis", "/openapi/v2", "/openapi/v3"} {
		if err := read(ctx, s.client(t), s.admin.Host+path); err != nil {
			t.Error(err)
		}
	}
	if *asStock {
		return // it has no controllers here
	}
	s.deleteBeside(t, client, corev1.NamespaceDeletionDiscoveryFailure, "DiscoveryFailed", "Discovery failed for some groups, 5 failing: unable to retrieve the complete list of server APIs: ")
	for _, strange := range strangeServers {
		if err := registry.Delete(t.Context(), "v1."+strange.group, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
	s.gone(t, client)
}

// leaving is a namespace that something stands in the way of.
const leaving = "leaving"

// deleteBeside deletes a namespace, whose objects go and whose condition tells why it does not.
func (s *suite) deleteBeside(t *testing.T, client kubernetes.Interface, condition corev1.NamespaceConditionType, reason, message string) {
	t.Helper()
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: leaving}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ConfigMaps(leaving).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Namespaces().Delete(t.Context(), leaving, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	soon(t, "the other objects of the namespace have gone, and it says why it has not", func(ctx context.Context) (bool, error) {
		maps, err := client.CoreV1().ConfigMaps(leaving).List(ctx, metav1.ListOptions{})
		if err != nil || len(maps.Items) > 0 {
			return false, err
		}
		namespace, err := client.CoreV1().Namespaces().Get(ctx, leaving, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, c := range namespace.Status.Conditions {
			if c.Type == condition && c.Status == corev1.ConditionTrue {
				if c.Reason != reason || !strings.HasPrefix(c.Message, message) {
					t.Errorf("got  %s: %s\nwant %s: %s…", c.Reason, c.Message, reason, message)
				}
				return true, nil
			}
		}
		return false, nil
	})
}

// gone waits until the namespace has gone too.
func (s *suite) gone(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	soon(t, "the namespace has gone", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Namespaces().Get(ctx, leaving, metav1.GetOptions{})
		return err != nil, ignoreNotFound(err)
	})
}

// registerServer serves strange and makes the API know of it. Where this ends with the test, the APIService is deleted before.
func (s *suite) registerServer(t *testing.T, strange strangeServer) {
	t.Helper()
	end := make(chan struct{})
	h := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		go func() {
			select {
			case <-end:
				cancel()
			case <-ctx.Done():
			}
		}()
		strange.answer(w, r.WithContext(ctx))
	}))
	t.Cleanup(func() {
		close(end)
		h.CloseClientConnections()
		h.Close()
	})
	at, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(s.admin)
	name, _, _ := strings.Cut(strange.group, ".")
	// The name stands for an address of this machine, where no endpoint may be.
	_, err = client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeExternalName, ExternalName: "localhost", Ports: []corev1.ServicePort{{Port: int32(port), TargetPort: intstr.FromInt(port)}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = aggregator.NewForConfigOrDie(s.admin).ApiregistrationV1().APIServices().Create(t.Context(), &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1." + strange.group},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: strange.group, Version: "v1", GroupPriorityMinimum: 1000, VersionPriority: 10, InsecureSkipTLSVerify: true,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: name, Port: ptr.To(int32(port))},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(fmt.Errorf("register %s: %w", strange.group, err))
	}
}
