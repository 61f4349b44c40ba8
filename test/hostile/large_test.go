// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"
)

// large has many clients at once read and write objects that are as large as they may be: as text, and as lists of small things, which are
// forty times as large in memory.
func large(t *testing.T, s *suite) {
	n := 12
	if *full {
		n = 200
	}
	h := httptest.NewTLSServer(http.HandlerFunc(convert))
	defer h.Close()
	client, objects := apiextensions.NewForConfigOrDie(s.admin), dynamic.NewForConfigOrDie(s.admin)
	loose := looseDefinition()
	for _, d := range []*apiextensionsv1.CustomResourceDefinition{turncoatDefinition(h.URL, h.Certificate().Raw), loose} {
		if err := define(t.Context(), client, objects, d); err != nil {
			t.Fatal(err)
		}
	}
	turncoats := resourceOf(turncoatDefinition(h.URL, h.Certificate().Raw))
	if _, err := objects.Resource(turncoats).Namespace("default").Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": turncoats.GroupVersion().String(), "kind": "Turncoat", "metadata": map[string]any{"name": "swells"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	things := "/apis/" + loose.Spec.Group + "/v1/namespaces/default/" + loose.Spec.Names.Plural
	converted := "/apis/conversions.hostile.example.com/v2/namespaces/default/turncoats"
	custom := func(name, spec string) string {
		return fmt.Sprintf(`{"apiVersion":"%s/v1","kind":"%s","metadata":{"name":"%s"},"spec":%s}`, loose.Spec.Group, loose.Spec.Names.Kind, name, spec)
	}
	text := `{"text":"` + strings.Repeat("x", 2900<<10) + `"}`
	tree := `{"list":[` + strings.TrimSuffix(strings.Repeat(`{"a":1},`, 45_000), ",") + `]}`
	maps := func(name, data string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"},"data":%s}`, name, data)
	}
	one := `{"text":"` + strings.Repeat("x", 1<<20-100) + `"}`
	keys := `{` + many(20_000, `"key%06d":""`) + `}`
	const jsonType, applyType = "application/json", "application/apply-patch+yaml"
	clients := make([]*http.Client, n)
	for i := range clients {
		clients[i] = s.client(t)
	}
	for _, tt := range []struct {
		name, method, path, mediaType string
		body                          func(name string) string
	}{
		{"get what a webhook swells", http.MethodGet, converted + "/swells", "", nil},
		{"list what a webhook swells", http.MethodGet, converted + "?limit=2", "", nil},
		{"create text", http.MethodPost, things + "?dryRun=All", jsonType, func(name string) string { return custom(name, text) }},
		{"create a tree", http.MethodPost, things + "?dryRun=All", jsonType, func(name string) string { return custom(name, tree) }},
		{"apply text", http.MethodPatch, things + "/$NAME?dryRun=All&fieldManager=hostile", applyType, func(name string) string { return custom(name, text) }},
		{"apply a tree", http.MethodPatch, things + "/$NAME?dryRun=All&fieldManager=hostile", applyType, func(name string) string { return custom(name, tree) }},
		{"store text", http.MethodPatch, things + "/text?fieldManager=hostile", applyType, func(string) string { return custom("text", text) }},
		{"store a tree", http.MethodPatch, things + "/tree?fieldManager=hostile", applyType, func(string) string { return custom("tree", tree) }},
		{"get text", http.MethodGet, things + "/text", "", nil},
		{"get a tree", http.MethodGet, things + "/tree", "", nil},
		{"list a few", http.MethodGet, things + "?limit=2", "", nil},
		{"patch a tree", http.MethodPatch, things + "/tree?fieldManager=hostile&dryRun=All", "application/merge-patch+json", func(string) string { return `{"metadata":{"labels":{"a":"b"}}}` }},
		{"create large ConfigMaps", http.MethodPost, configMaps + "?dryRun=All", jsonType, func(name string) string { return maps(name, one) }},
		{"create ConfigMaps of many keys", http.MethodPost, configMaps + "?dryRun=All", jsonType, func(name string) string { return maps(name, keys) }},
		{"apply large ConfigMaps", http.MethodPatch, configMaps + "/$NAME?dryRun=All&fieldManager=hostile", applyType, func(name string) string { return maps(name, one) }},
		{"apply ConfigMaps of many keys", http.MethodPatch, configMaps + "/$NAME?dryRun=All&fieldManager=hostile", applyType, func(name string) string { return maps(name, keys) }},
		{"store a large ConfigMap", http.MethodPatch, configMaps + "/large?fieldManager=hostile", applyType, func(string) string { return maps("large", one) }},
		{"get a large ConfigMap", http.MethodGet, configMaps + "/large", "", nil},
		{"list large ConfigMaps", http.MethodGet, configMaps + "?limit=5", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := Forget(s.pid); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			times := n
			switch {
			case strings.HasSuffix(tt.name, "webhook swells"):
				times = n / 2 // each has a connection of its own to the webhook, and as many as may be under way for anybody but administrators
			case strings.HasPrefix(tt.name, "store"):
				times = 3 // the file of the storage grows
			case strings.HasSuffix(tt.name, " tree"):
				times = max(2, n/8) // one takes a second or two
			}
			each(t, times, n, func(ctx context.Context, i int) error {
				name := fmt.Sprintf("large-%d", i)
				body := ""
				if tt.body != nil {
					body = tt.body(name)
				}
				return insist(ctx, clients[i], func() (*http.Request, error) {
					request, err := http.NewRequestWithContext(ctx, tt.method, s.admin.Host+strings.ReplaceAll(tt.path, "$NAME", name), strings.NewReader(body))
					if err == nil && tt.mediaType != "" {
						request.Header.Set("Content-Type", tt.mediaType)
					}
					return request, err
				})
			})
			memory, err := ReadMemory(s.pid)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d at once: peak %.0f MiB, after %.0f MiB, %.1f s", times, memory.Peak, memory.Now, time.Since(begin).Seconds())
			if memory.Peak > most && !*asStock {
				t.Errorf("the server's resident memory reached %.0f MiB, which must stay below %d", memory.Peak, most)
			}
		})
	}
	for _, name := range []string{turncoats.GroupResource().String(), loose.Name} {
		if err := client.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
}

// looseDefinition is of a custom resource whose objects may have anything in their spec.
func looseDefinition() *apiextensionsv1.CustomResourceDefinition {
	d := definition(2000, 0)
	for i := range d.Spec.Versions {
		d.Spec.Versions[i].Schema.OpenAPIV3Schema.Properties["spec"] = apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: ptr.To(true)}
	}
	return d
}

// insist sends a request again and again while the server says that it has too much to do, and reads the answer, which must be a success.
func insist(ctx context.Context, client *http.Client, make func() (*http.Request, error)) error {
	for {
		request, err := make()
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		switch {
		case err != nil:
			return err
		case answer.StatusCode < 300:
			return nil
		case answer.StatusCode != http.StatusTooManyRequests:
			return fmt.Errorf("%s: %s", answer.Status, abridged(string(text)))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}
