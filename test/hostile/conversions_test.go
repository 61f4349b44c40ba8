// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// turncoat is how a conversion webhook misbehaves where it is asked for a single object, whose name says so. Whatever else it converts as it should.
type turncoat struct {
	name string
	slow bool // it takes the server half a minute to give up
	// misbehave answers r, which has been read: whole is what it should answer.
	misbehave func(w http.ResponseWriter, r *http.Request, whole conversion)
	// want is the error of whoever reads the object, with $URL for the webhook's; … at the end stands for anything.
	want string
}

// conversion is an answer that can be changed.
type conversion struct {
	APIVersion string         `json:"apiVersion,omitempty"`
	Kind       string         `json:"kind,omitempty"`
	Response   map[string]any `json:"response,omitempty"`
}

// object is the first object of the answer, and its metadata.
func (c conversion) object() (object, metadata map[string]any) {
	object = c.Response["convertedObjects"].([]any)[0].(map[string]any)
	return object, object["metadata"].(map[string]any)
}

// swollen is how long the text is, in bytes, that a webhook adds.
const swollen = 3 << 20

const failedConversion = `500  conversion webhook for conversions.hostile.example.com/v1, Kind=Turncoat `

func (c conversion) send(w http.ResponseWriter) { _ = json.NewEncoder(w).Encode(c) } // who asked may have gone

// changed answers after a change.
func changed(change func(c conversion)) func(http.ResponseWriter, *http.Request, conversion) {
	return func(w http.ResponseWriter, _ *http.Request, c conversion) {
		change(c)
		c.send(w)
	}
}

// said answers a text.
func said(text string) func(http.ResponseWriter, *http.Request, conversion) {
	return func(w http.ResponseWriter, _ *http.Request, _ conversion) { _, _ = io.WriteString(w, text) }
}

var turncoats = []turncoat{
	{"hangs", true, func(_ http.ResponseWriter, r *http.Request, _ conversion) { <-r.Context().Done() }, failedConversion + `failed: Post "$URL/?timeout=30s": …`},
	{"drips", true, func(w http.ResponseWriter, r *http.Request, _ conversion) { drip(w, r) }, failedConversion + `failed: unexpected error when reading response body. Please retry. Original error: …`},
	{"never-ends", false, func(w http.ResponseWriter, r *http.Request, _ conversion) { neverEnd(w, r) }, failedConversion + `failed: unexpected error when reading response body. Please retry. Original error: the webhook's answer is longer than …`},
	{"redirects", false, func(w http.ResponseWriter, r *http.Request, _ conversion) {
		http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
	}, failedConversion + `failed: Post "/again": stopped after 10 redirects`},
	{"says-nothing", false, said(""), failedConversion + `failed: 0-length response with status code: 200 and content type: application/json`},
	{"says-text", false, said("<html>"), failedConversion + `failed: couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value …`},
	{"says-another-kind", false, func(w http.ResponseWriter, _ *http.Request, c conversion) {
		c.Kind = "Other"
		c.send(w)
	}, failedConversion + `failed: no kind "Other" is registered for version "apiextensions.k8s.io/v1" in scheme …`},
	{"goes-deep", false, said(strings.Repeat(`{"a":`, 200_000)), failedConversion + `failed: couldn't get version/kind; json parse error: invalid character '{' exceeded max depth`},
	{"fails", false, func(w http.ResponseWriter, _ *http.Request, _ conversion) {
		http.Error(w, "I am ill", http.StatusInternalServerError)
	}, failedConversion + `failed: an error on the server ("I am ill") has prevented the request from succeeding`},
	{"refuses", false, changed(func(c conversion) { c.Response["result"] = map[string]any{"status": "Failure", "message": "not today"} }), failedConversion + `failed: not today`},
	{"gives-no-result", false, changed(func(c conversion) { delete(c.Response, "result") }), failedConversion + `failed: response.result.status was '', not 'Success'`},
	{"answers-another", false, changed(func(c conversion) { c.Response["uid"] = "other" }), failedConversion + `failed: expected response.uid=…`},
	{"loses-it", false, changed(func(c conversion) { c.Response["convertedObjects"] = []any{} }), failedConversion + `returned 0 objects, expected 1`},
	{"doubles-it", false, changed(func(c conversion) {
		o, _ := c.object()
		c.Response["convertedObjects"] = []any{o, o}
	}), failedConversion + `returned 2 objects, expected 1`},
	{"renames", false, changed(func(c conversion) { _, m := c.object(); m["name"] = "other" }), failedConversion + `returned invalid object: must have the same name: renames != other`},
	{"moves", false, changed(func(c conversion) { _, m := c.object(); m["namespace"] = "kube-system" }), failedConversion + `returned invalid object: must have the same namespace: default != kube-system`},
	{"replaces", false, changed(func(c conversion) { _, m := c.object(); m["uid"] = "other" }), failedConversion + `returned invalid object: must have the same UID: …`},
	{"changes-the-kind", false, changed(func(c conversion) { o, _ := c.object(); o["kind"] = "Other" }), failedConversion + `returned invalid object at index 0: invalid kind (expected Turncoat, received Other)`},
	{"changes-the-version", false, changed(func(c conversion) { o, _ := c.object(); o["apiVersion"] = "v1" }), failedConversion + `returned invalid object at index 0: invalid groupVersion (expected conversions.hostile.example.com/v2, received v1)`},
	{"converts-nothing", false, changed(func(c conversion) { o, _ := c.object(); o["apiVersion"] = "conversions.hostile.example.com/v1" }), failedConversion + `returned invalid object at index 0: invalid groupVersion (expected conversions.hostile.example.com/v2, received conversions.hostile.example.com/v1)`},
	{"drops-the-metadata", false, changed(func(c conversion) { o, _ := c.object(); delete(o, "metadata") }), failedConversion + `returned invalid object: must have the same name: drops-the-metadata != `},
	{"makes-metadata-text", false, changed(func(c conversion) { o, _ := c.object(); o["metadata"] = "text" }), failedConversion + `returned invalid object: must have the same name: makes-metadata-text != `},
	{"makes-labels-bad", false, changed(func(c conversion) { _, m := c.object(); m["labels"] = map[string]any{"a": "not a label"} }), failedConversion + `returned invalid metadata: metadata.labels: Invalid value: "not a label": …`},
	{"sends-what-is-no-object", false, changed(func(c conversion) { c.Response["convertedObjects"] = []any{"text"} }), `500  json: cannot unmarshal string into Go value of type map[string]interface {}`},
	{"swells", false, changed(func(c conversion) {
		o, _ := c.object()
		o["spec"] = map[string]any{"field0": map[string]any{"name": strings.Repeat("x", swollen)}}
	}), "ok"},
	{"sprawls", false, changed(func(c conversion) {
		o, _ := c.object()
		o["spec"] = map[string]any{"field0": slices.Repeat([]any{map[string]any{"a": 1}}, 500_000)}
	}), failedConversion + `failed: unexpected error when reading response body. Please retry. Original error: the webhook's answer has too much in it: Request entity too large: it has …`},
	{"takes-hostages", false, changed(func(c conversion) { _, m := c.object(); m["finalizers"] = []any{"example.com/mine"} }), "ok"},
}

// drip answers byte by byte until whoever asked goes, and does not end the answer then: the client may still read.
func drip(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then is it noticed that the client has gone
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, " ") // the loop ends where this fails
		w.(http.Flusher).Flush()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done():
		}
	}
	panic(http.ErrAbortHandler)
}

// neverEnd answers as much as whoever asked takes, gigabytes at most.
func neverEnd(w http.ResponseWriter, _ *http.Request) {
	most := 4 << 30
	if *asStock {
		most = 64 << 20 // it reads all of it
	}
	spaces := []byte(strings.Repeat(" ", 1<<20))
	for n := 0; n < most; n += len(spaces) {
		if _, err := w.Write(spaces); err != nil {
			return
		}
	}
}

// conversions are webhooks of custom resources that hang, lie, or answer more than anybody asked for.
func conversions(t *testing.T, s *suite) {
	var dead atomic.Bool
	h := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if dead.Load() {
			http.Error(w, "dead", http.StatusInternalServerError)
			return
		}
		convert(w, r)
	}))
	defer h.Close()
	defer h.CloseClientConnections()
	plural := turncoatDefinition(h.URL, h.Certificate().Raw)
	definitions := apiextensions.NewForConfigOrDie(s.admin).ApiextensionsV1().CustomResourceDefinitions()
	if _, err := definitions.Create(t.Context(), plural, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	objects := dynamic.NewForConfigOrDie(s.admin)
	stored := schema.GroupVersionResource{Group: plural.Spec.Group, Version: "v1", Resource: "turncoats"}
	asked := stored.GroupResource().WithVersion("v2")
	for _, tt := range turncoats {
		object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": stored.GroupVersion().String(), "kind": "Turncoat", "metadata": map[string]any{"name": tt.name}}}
		soon(t, "the custom resource is served", func(ctx context.Context) (bool, error) {
			_, err := objects.Resource(stored).Namespace("default").Create(ctx, object, metav1.CreateOptions{})
			return err == nil, ignoreNotFound(err)
		})
	}
	t.Run("each", func(t *testing.T) {
		for _, tt := range turncoats {
			if tt.slow && !*full && !*asStock {
				continue
			}
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				_, err := objects.Resource(asked).Namespace("default").Get(t.Context(), tt.name, metav1.GetOptions{})
				expect(t, err, strings.ReplaceAll(tt.want, "$URL", h.URL))
			})
		}
	})
	if !*asStock { // which answers after some time, with some gigabytes
		const n = 24
		each(t, n, n, func(ctx context.Context, _ int) error {
			object, err := objects.Resource(asked).Namespace("default").Get(ctx, "swells", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if have := len(object.Object["spec"].(map[string]any)["field0"].(map[string]any)["name"].(string)); have != swollen {
				return fmt.Errorf("%d bytes of a large object, want %d", have, swollen)
			}
			return nil
		})
	}
	if !*asStock { // it has no controllers here
		s.leaveBesideDeadConversion(t, objects.Resource(stored), &dead)
	}
	if err := definitions.Delete(t.Context(), plural.Name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// leaveBesideDeadConversion deletes a namespace with an object that cannot be converted: the others go, the namespace when the webhook is back.
func (s *suite) leaveBesideDeadConversion(t *testing.T, stored dynamic.NamespaceableResourceInterface, dead *atomic.Bool) {
	client := kubernetes.NewForConfigOrDie(s.admin)
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: leaving}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "conversions.hostile.example.com/v1", "kind": "Turncoat", "metadata": map[string]any{"name": "honest"}}}
	if _, err := stored.Namespace(leaving).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	dead.Store(true)
	s.deleteBeside(t, client, corev1.NamespaceDeletionContentFailure, "ContentDeletionFailed", "Failed to delete all resource types, 1 remaining: conversion webhook for conversions.hostile.example.com/v1, Kind=Turncoat")
	dead.Store(false)
	s.gone(t, client)
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// convert is the webhook.
func convert(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var review apiextensionsv1.ConversionReview
	if err != nil || json.Unmarshal(body, &review) != nil || review.Request == nil {
		http.Error(w, "not a review", http.StatusBadRequest)
		return
	}
	var all []any
	var first unstructured.Unstructured
	for _, raw := range review.Request.Objects {
		var o unstructured.Unstructured
		if err := o.UnmarshalJSON(raw.Raw); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		o.SetAPIVersion(review.Request.DesiredAPIVersion)
		all = append(all, o.Object)
		first = o
	}
	w.Header().Set("Content-Type", "application/json")
	whole := conversion{APIVersion: review.APIVersion, Kind: review.Kind, Response: map[string]any{
		"uid": review.Request.UID, "result": map[string]any{"status": "Success"}, "convertedObjects": all,
	}}
	if len(all) == 1 {
		for _, tt := range turncoats {
			if tt.name == first.GetName() {
				tt.misbehave(w, r, whole)
				return
			}
		}
	}
	whole.send(w)
}

func turncoatDefinition(url string, authority []byte) *apiextensionsv1.CustomResourceDefinition {
	d := definition(0, 1)
	d.Spec.Group = "conversions.hostile.example.com"
	d.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: "turncoats", Singular: "turncoat", Kind: "Turncoat"}
	d.Name = d.Spec.Names.Plural + "." + d.Spec.Group
	d.Spec.Versions[1].Name = "v2"
	d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
		ConversionReviewVersions: []string{"v1"},
		ClientConfig: &apiextensionsv1.WebhookClientConfig{
			URL: &url, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority}),
		},
	}}
	return d
}

// expect compares what the server says with want, where … at the end stands for anything.
func expect(t *testing.T, err error, want string) {
	t.Helper()
	got := "ok"
	if status, ok := err.(apierrors.APIStatus); ok {
		got = fmt.Sprintf("%d %s %s", status.Status().Code, status.Status().Reason, status.Status().Message)
	} else if err != nil {
		got = err.Error()
	}
	if begin, ok := strings.CutSuffix(want, "…"); got != want && !(ok && strings.HasPrefix(got, begin)) {
		t.Errorf("got  %s\nwant %s", abridged(got), want)
	}
}
