// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	clientfeatures "k8s.io/client-go/features"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// contentTypes writes and reads the same object in every format that the API has, and watches it.
func contentTypes(ctx context.Context, e *env) error {
	for format, want := range map[string][]string{
		"json":     {runtime.ContentTypeJSON},
		"protobuf": {runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf + ";stream=watch"},
	} {
		contentType := want[0]
		answers := &answered{types: map[string]int{}}
		config := rest.CopyConfig(e.config)
		config.ContentType, config.AcceptContentTypes = contentType, contentType
		config.Wrap(answers.record)
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		if err := throughLife(ctx, client, e.namespace, format); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
		if err := answers.are(want...); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
	}
	return cbor(ctx, e)
}

// throughLife is an object's life, seen by a watch.
func throughLife(ctx context.Context, client kubernetes.Interface, namespace, name string) error {
	objects := client.CoreV1().Secrets(namespace)
	w, err := objects.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return err
	}
	defer w.Stop()
	object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"bytes": {0, 1, 254, 255}}}
	if object, err = objects.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	object.Data["more"] = []byte("words")
	if _, err = objects.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if _, err = objects.Patch(ctx, name, types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	if object, err = objects.Get(ctx, name, metav1.GetOptions{}); err != nil {
		return err
	}
	list, err := objects.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return err
	}
	if err := errors.Join(expect("bytes", string(object.Data["bytes"]), "\x00\x01\xfe\xff"), expect("label", object.Labels["a"], "b"), expect("listed", len(list.Items), 1)); err != nil {
		return err
	}
	if err := objects.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &object.UID}}); err != nil {
		return err
	}
	for _, want := range []watch.EventType{watch.Added, watch.Modified, watch.Modified, watch.Deleted} {
		event, err := next(ctx, w.ResultChan(), string(want))
		if err != nil {
			return err
		}
		if secret, ok := event.Object.(*corev1.Secret); !ok || event.Type != want || secret.Name != name {
			return fmt.Errorf("the watch sent %s %v, want %s of %s", event.Type, event.Object, want, name)
		}
	}
	return nil
}

// cbor asks for CBOR, with the gates that make client-go do so. A server may not have it: then the first request that is written in it is
// refused, and client-go goes on with JSON.
func cbor(ctx context.Context, e *env) error {
	if !clientfeatures.FeatureGates().Enabled(clientfeatures.ClientsAllowCBOR) {
		return errors.New("set KUBE_FEATURE_ClientsAllowCBOR=true and KUBE_FEATURE_ClientsPreferCBOR=true")
	}
	answers := &answered{types: map[string]int{}}
	config := rest.CopyConfig(e.config)
	config.Wrap(answers.record)
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	objects := client.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(e.namespace)
	served, left := "application/cbor", "application/json"
	if err = dynamicLife(ctx, objects, "v1", "ConfigMap", "cbor", true); apierrors.IsUnsupportedMediaType(err) {
		served, left = left, served
		err = dynamicLife(ctx, objects, "v1", "ConfigMap", "cbor", false)
	}
	fmt.Println("asked for CBOR, got", answers.types)
	return errors.Join(err, expect("some answers are "+served, answers.types[served] > 0, true), expect("answers that are "+left, answers.types[left], 0))
}

// answered counts the content types of answers.
type answered struct{ types map[string]int }

func (a *answered) record(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(q *http.Request) (*http.Response, error) {
		r, err := next.RoundTrip(q)
		if err == nil {
			a.types[r.Header.Get("Content-Type")]++
		}
		return r, err
	})
}

// are is an error where there were others, or one has not been seen.
func (a *answered) are(want ...string) error {
	seen := len(want)
	for _, t := range want {
		if a.types[t] == 0 {
			seen--
		}
	}
	if seen != len(want) || len(a.types) != len(want) {
		return fmt.Errorf("answers were of types %v, want %q", a.types, want)
	}
	return nil
}
