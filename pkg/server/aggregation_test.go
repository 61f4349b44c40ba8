// SPDX-License-Identifier: Apache-2.0

package server

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"github.com/hivemind-project/hivemind/pkg/auth/pki"
)

// read gets a path as the administrator, or as whom the change to the client's configuration makes it.
func (c *cluster) read(t *testing.T, path string, change func(*rest.Config)) (code int, body string) {
	t.Helper()
	config := rest.CopyConfig(c.config)
	if change != nil {
		change(config)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.config.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(data)
}

// lists waits until a path is, or is not, among those that the server tells of.
func (c *cluster) lists(t *testing.T, path string, want bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s to be listed, %t", path, want), func() (bool, error) {
		code, body := c.read(t, "/", nil)
		return code == http.StatusOK && strings.Contains(body, `"`+path+`"`) == want, fmt.Errorf("%d %s", code, body)
	})
}

// What this server serves itself has APIServices that say so, and whoever changes one has it changed.
func TestAPIServicesOfThisServer(t *testing.T) {
	c := newCluster(t)
	services := aggregatorclient.NewForConfigOrDie(c.config).ApiregistrationV1().APIServices()
	groups, err := c.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, group := range groups.Groups {
		names = append(names, group.Name)
		for _, version := range group.Versions {
			name := version.Version + "." + group.Name
			if group.Name == apiregistrationv1.GroupName {
				continue
			}
			eventually(t, "APIService "+name, func() (bool, error) {
				s, err := services.Get(t.Context(), name, metav1.GetOptions{})
				return err == nil && s.Labels["kube-aggregator.kubernetes.io/automanaged"] == "onstart" && helper.IsAPIServiceConditionTrue(s, apiregistrationv1.Available), err
			})
		}
	}
	// The order of kubectl api-versions and of its choice among kinds of the same name.
	if want := []string{"", "apiregistration.k8s.io", "apps", "events.k8s.io"}; len(names) < len(want) || !slices.Equal(names[:len(want)], want) {
		t.Errorf("groups begin with %q, want %q", names[:min(len(want), len(names))], want)
	}

	definitions := apiextensions.NewForConfigOrDie(c.config).ApiextensionsV1().CustomResourceDefinitions()
	definition := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "things.example.com"}, Spec: apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "example.com", Scope: apiextensionsv1.NamespaceScoped, Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Kind: "Thing"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}}}},
	}}
	if _, err := definitions.Create(t.Context(), definition, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the APIService of custom resources", func() (bool, error) {
		s, err := services.Get(t.Context(), "v1.example.com", metav1.GetOptions{})
		return err == nil && s.Labels["kube-aggregator.kubernetes.io/automanaged"] == "true" && s.Spec.GroupPriorityMinimum == 1000 && s.Spec.VersionPriority == 100, err
	})
	c.lists(t, "/apis/example.com/v1", true)
	eventually(t, "custom resources to be described", func() (bool, error) {
		code, body := c.read(t, "/apis/example.com/v1", nil)
		return code == http.StatusOK && strings.Contains(body, `"things"`), fmt.Errorf("%d %s", code, body)
	})
	if err := definitions.Delete(t.Context(), definition.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the APIService of custom resources to go", func() (bool, error) {
		_, err := services.Get(t.Context(), "v1.example.com", metav1.GetOptions{})
		return apierrors.IsNotFound(err), err
	})
	eventually(t, "their group to go", func() (bool, error) {
		code, _ := c.read(t, "/apis/example.com", nil)
		return code == http.StatusNotFound, fmt.Errorf("%d", code)
	})
	c.lists(t, "/apis/example.com/v1", false)
}

// Requests for a group and version whose APIService names a service go there, in the name of whoever sent them.
func TestAggregatedServer(t *testing.T) {
	c := newCluster(t)
	s := newToys(t, c)
	s.register(t, c, false)
	s.becomes(t, `False ServiceNotFound service/toys in "default" is not present`)
	code, body := c.read(t, toysPath+"/namespaces/default/toys", nil)
	if code != http.StatusServiceUnavailable || body != "service unavailable\n" {
		t.Errorf("without a service: %d %q", code, body)
	}
	if _, _, err := c.Discovery().ServerGroupsAndResources(); !discovery.IsGroupDiscoveryFailedError(err) {
		t.Errorf("discovery of a server that is not there: %v, want it to say what failed", err)
	}
	s.serve(t, c)
	s.becomes(t, "True Passed all checks passed")

	t.Run("identity", func(t *testing.T) {
		asJane := func(config *rest.Config) {
			config.Impersonate = rest.ImpersonationConfig{UserName: "jane", UID: "7", Groups: []string{"friends"}, Extra: map[string][]string{"example.com/mood": {"good"}}}
		}
		code, body := c.read(t, toysPath+"/namespaces/default/toys?limit=1", asJane)
		if code != http.StatusForbidden || len(s.asks) != 0 {
			t.Fatalf("a user without rights: %d %s", code, body)
		}
		_, err := c.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "jane"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "jane"}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "jane to be answered", func() (bool, error) {
			code, body := c.read(t, toysPath+"/namespaces/default/toys?limit=1", asJane)
			return code == http.StatusOK, fmt.Errorf("%d %s", code, body)
		})
		got := map[string][]string{}
		for name, values := range s.asked(t) {
			if strings.HasPrefix(name, "X-Remote-") || strings.HasPrefix(name, "Impersonate-") || name == "Authorization" {
				got[name] = values
			}
		}
		want := map[string][]string{
			"X-Remote-User": {"jane"}, "X-Remote-Uid": {"7"}, "X-Remote-Group": {"friends", "system:authenticated"}, "X-Remote-Extra-Example.com%2fmood": {"good"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
	t.Run("discovery", func(t *testing.T) {
		for name, legacy := range map[string]bool{"aggregated": false, "unaggregated": true} {
			client := discovery.NewDiscoveryClientForConfigOrDie(c.config)
			client.UseLegacyDiscovery = legacy
			eventually(t, name+" discovery to tell of toys", func() (bool, error) {
				lists, err := client.ServerPreferredResources()
				return err == nil && slices.ContainsFunc(lists, func(l *metav1.APIResourceList) bool {
					return l.GroupVersion == toysGroup+"/"+toysVersion && len(l.APIResources) == 1
				}), err
			})
		}
	})
	t.Run("paths", func(t *testing.T) { c.lists(t, toysPath, true) })
	t.Run("openapi", func(t *testing.T) {
		code, body := c.read(t, "/openapi/v3", nil)
		if !strings.Contains(body, `"/openapi/v3`+toysPath+`?hash=toys"`) || strings.Contains(body, "/openapi/v3/apis?hash=toys") {
			t.Errorf("index: %d, of toys what is theirs: %t", code, strings.Contains(body, toysPath))
		}
		if code, body := c.read(t, "/openapi/v3"+toysPath+"?hash=toys", nil); code != http.StatusOK || !strings.Contains(body, `"title":"toys"`) {
			t.Errorf("version 3: %d %s", code, body)
		}
		code, body = c.read(t, "/openapi/v2", nil)
		var whole struct{ Paths, Definitions map[string]any }
		if err := json.Unmarshal([]byte(body), &whole); err != nil || code != http.StatusOK {
			t.Fatalf("version 2: %d, %v", code, err)
		}
		for key, want := range map[string]bool{toysPath + "/toys": true, "/other": false, "/api/v1/namespaces/{namespace}/pods": true} {
			if _, ok := whole.Paths[key]; ok != want {
				t.Errorf("version 2 has %s: %t, want %t", key, ok, want)
			}
		}
		for key, want := range map[string]bool{"com.example.Toy": true, "com.example.Other": false, "io.k8s.api.core.v1.Pod": true} {
			if _, ok := whole.Definitions[key]; ok != want {
				t.Errorf("version 2 defines %s: %t, want %t", key, ok, want)
			}
		}
	})
	t.Run("streams", func(t *testing.T) { s.stream(t, c) })
	t.Run("upgrade", func(t *testing.T) { s.upgrade(t, c) })
	t.Run("namespaces are emptied", func(t *testing.T) {
		if _, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nursery"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.all["nursery"] = []string{"bear"}
		s.mu.Unlock()
		if err := c.CoreV1().Namespaces().Delete(t.Context(), "nursery", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the namespace to go", func() (bool, error) {
			_, err := c.CoreV1().Namespaces().Get(t.Context(), "nursery", metav1.GetOptions{})
			return apierrors.IsNotFound(err), err
		})
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.all["nursery"]) > 0 {
			t.Errorf("%v are left of a namespace that has gone", s.all["nursery"])
		}
	})

	// What is no longer asked of it is answered here.
	if err := s.client.Delete(t.Context(), toysVersion+"."+toysGroup, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the group to go", func() (bool, error) {
		code, _ := c.read(t, toysPath, nil)
		all, _ := c.read(t, "/apis/"+toysGroup, nil)
		return code == http.StatusNotFound && all == http.StatusNotFound, fmt.Errorf("%d, %d", code, all)
	})
	c.lists(t, toysPath, false)
	if _, body := c.read(t, "/openapi/v3", nil); strings.Contains(body, toysGroup) {
		t.Error("OpenAPI still tells of a server that has gone")
	}
}

// A proxy in front of this server speaks for users; others cannot, and their headers say nothing.
func TestFrontProxy(t *testing.T) {
	c := newCluster(t)
	ids := c.server.identities
	other, err := ids.FrontProxyCA.Issue(pki.Request{Subject: pkix.Name{CommonName: "someone"}, Usage: x509.ExtKeyUsageClientAuth})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		certificate *pki.Pair
		user        string
		want        string // the user that the server sees, or the code of its refusal
	}{
		"front proxy":                     {ids.FrontProxyClient, "jane", "jane 7 [friends system:authenticated] map[mood:[good]]"},
		"front proxy without a user":      {ids.FrontProxyClient, "", "401"},
		"name that is not allowed":        {other, "jane", "401"},
		"certificate of the cluster's CA": {ids.Admin, "jane", "kubernetes-admin  [system:masters system:authenticated] map[]"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := rest.HTTPClientFor(ids.RESTConfig(c.config.Host, test.certificate))
			if err != nil {
				t.Fatal(err)
			}
			defer client.CloseIdleConnections()
			review := `{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}`
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.config.Host+"/apis/authentication.k8s.io/v1/selfsubjectreviews", strings.NewReader(review))
			if err != nil {
				t.Fatal(err)
			}
			request.Header = http.Header{"Content-Type": {"application/json"}, "X-Remote-Group": {"friends"}, "X-Remote-Uid": {"7"}, "X-Remote-Extra-Mood": {"good"}}
			if test.user != "" {
				request.Header.Set("X-Remote-User", test.user)
			}
			answer, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			got := fmt.Sprint(answer.StatusCode)
			if answer.StatusCode == http.StatusCreated {
				var said struct {
					Status struct {
						UserInfo struct {
							Username, UID string
							Groups        []string
							Extra         map[string][]string
						}
					}
				}
				if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
					t.Fatal(err)
				}
				u := said.Status.UserInfo
				delete(u.Extra, "authentication.kubernetes.io/credential-id")
				got = fmt.Sprintf("%s %s %v %v", u.Username, u.UID, u.Groups, u.Extra)
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
