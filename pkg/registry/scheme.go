// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/runtime/serializer/recognizer"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
)

// newScheme registers the types of every row, with their defaults and field labels, and what subresources speak.
//
// The versioned type is the hub: it stands for the internal version too, so that the API machinery's conversions between
// "versioned" and "internal" change nothing but the kind's name, and no conversion layer exists.
func newScheme(rows []*Resource) (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	s.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})

	seen := map[schema.GroupVersion]bool{}
	version := func(gv schema.GroupVersion) error {
		if seen[gv] {
			return nil
		}
		seen[gv] = true
		if gv.Group != "" {
			metav1.AddToGroupVersion(s, gv)
		}
		return s.SetVersionPriority(gv)
	}
	hub := func(gv schema.GroupVersion, objects ...runtime.Object) error {
		s.AddKnownTypes(gv, objects...)
		s.AddKnownTypes(schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal}, objects...)
		for _, object := range objects {
			if err := s.AddConversionFunc(object, object, convertToItself); err != nil {
				return err
			}
		}
		return version(gv)
	}
	for _, r := range rows {
		if err := hub(r.GroupVersion, r.New(), r.NewList()); err != nil {
			return nil, err
		}
		if r.setDefaults != nil {
			addDefaults(s, r)
		}
		if err := s.AddFieldLabelConversionFunc(r.GroupVersionKind(), r.fieldLabel()); err != nil {
			return nil, err
		}
	}
	for gv, objects := range map[schema.GroupVersion][]runtime.Object{
		corev1.SchemeGroupVersion: {&corev1.Binding{}, &corev1.PodLogOptions{}, &corev1.PodExecOptions{}, &corev1.PodAttachOptions{}, &corev1.PodPortForwardOptions{},
			&corev1.PodProxyOptions{}, &corev1.NodeProxyOptions{}, &corev1.ServiceProxyOptions{}, &corev1.SerializedReference{}, &corev1.ComponentStatus{}, &corev1.ComponentStatusList{}},
		policyv1.SchemeGroupVersion:         {&policyv1.Eviction{}},
		autoscalingv1.SchemeGroupVersion:    {&autoscalingv1.Scale{}},
		authenticationv1.SchemeGroupVersion: {&authenticationv1.TokenReview{}, &authenticationv1.TokenRequest{}, &authenticationv1.SelfSubjectReview{}},
		authorizationv1.SchemeGroupVersion: {&authorizationv1.SubjectAccessReview{}, &authorizationv1.SelfSubjectAccessReview{}, &authorizationv1.LocalSubjectAccessReview{},
			&authorizationv1.SelfSubjectRulesReview{}},
	} {
		if err := hub(gv, objects...); err != nil {
			return nil, err
		}
	}
	for _, options := range []runtime.Object{&corev1.PodLogOptions{}, &corev1.PodExecOptions{}, &corev1.PodAttachOptions{}, &corev1.PodPortForwardOptions{},
		&corev1.PodProxyOptions{}, &corev1.NodeProxyOptions{}, &corev1.ServiceProxyOptions{}} {
		if err := s.AddConversionFunc((*url.Values)(nil), options, convertQuery); err != nil {
			return nil, err
		}
	}
	if err := addAutoscalers(s); err != nil {
		return nil, err
	}
	if err := addOlderEviction(s); err != nil {
		return nil, err
	}
	return s, addEvents(s, version)
}

// convertToItself is the conversion between a version and the internal one, which are the same type. Admission asks for it: its
// plugins see copies of a version of their choice. As with generated conversions, what is behind pointers is shared, and out
// keeps the name of its own kind.
func convertToItself(in, out any, _ conversion.Scope) error {
	kind := out.(runtime.Object).GetObjectKind()
	name := kind.GroupVersionKind()
	reflect.ValueOf(out).Elem().Set(reflect.ValueOf(in).Elem())
	kind.SetGroupVersionKind(name)
	return nil
}

// addDefaults makes decoding fill in r's defaults, in single objects and in the items of lists.
func addDefaults(s *runtime.Scheme, r *Resource) {
	s.AddTypeDefaultingFunc(r.New(), func(obj any) { r.setDefaults(obj.(runtime.Object)) })
	s.AddTypeDefaultingFunc(r.NewList(), func(obj any) {
		items := reflect.ValueOf(obj).Elem().FieldByName("Items")
		for i := range items.Len() {
			r.setDefaults(items.Index(i).Addr().Interface().(runtime.Object))
		}
	})
}

// fieldLabel accepts the field selectors of the row.
func (r *Resource) fieldLabel() runtime.FieldLabelConversionFunc {
	known := map[string]bool{"metadata.name": true}
	if r.Namespaced {
		known["metadata.namespace"] = true
	}
	if r.fields != nil {
		for label := range r.fields(r.New()) {
			known[label] = true
		}
	}
	return func(label, value string) (string, string, error) {
		if known[label] {
			return label, value, nil
		}
		switch {
		case r.unknownField != "":
			return "", "", fmt.Errorf(r.unknownField, label)
		case r.fields != nil: // the library's error would say that there are no fields but the name and the namespace
			return "", "", fmt.Errorf("field label not supported: %s", label)
		}
		return runtime.DefaultMetaV1FieldSelectorConversion(label, value)
	}
}

// convertQuery fills the options of a connecting subresource from the query, field by field after their JSON names.
func convertQuery(in, out any, _ conversion.Scope) error {
	values := *in.(*url.Values)
	v := reflect.ValueOf(out).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		given, ok := values[name]
		if name == "" || !ok {
			continue
		}
		if err := setField(v.Field(i), given); err != nil {
			return err
		}
	}
	return nil
}

// setField parses the values of one query parameter as Kubernetes does: a flag without value is true, an empty number is zero.
func setField(f reflect.Value, given []string) error {
	switch p := f.Addr().Interface().(type) {
	case **bool:
		return runtime.Convert_Slice_string_To_Pointer_bool(&given, p, nil)
	case *bool:
		return runtime.Convert_Slice_string_To_bool(&given, p, nil)
	case **int64:
		return runtime.Convert_Slice_string_To_Pointer_int64(&given, p, nil)
	case *int64:
		return runtime.Convert_Slice_string_To_int64(&given, p, nil)
	case *string:
		return runtime.Convert_Slice_string_To_string(&given, p, nil)
	case **string:
		*p = new(string)
		return runtime.Convert_Slice_string_To_string(&given, *p, nil)
	case *[]string:
		*p = given
	case *[]int32:
		return metav1.Convert_Slice_string_To_Slice_int32(&given, p, nil)
	case **metav1.Time:
		if len(given) > 0 && given[0] != "" {
			at, err := time.Parse(time.RFC3339, given[0])
			if err != nil {
				return err
			}
			*p = &metav1.Time{Time: at.Local()}
		}
	}
	return nil
}

// addEvents joins the two Go types of one kind: events.k8s.io/v1 speaks its own, core/v1's is the hub of both groups.
func addEvents(s *runtime.Scheme, version func(schema.GroupVersion) error) error {
	gv := eventsv1.SchemeGroupVersion
	s.AddKnownTypes(gv, &eventsv1.Event{}, &eventsv1.EventList{})
	s.AddKnownTypes(schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal}, &corev1.Event{}, &corev1.EventList{})
	if err := addEventConversions(s); err != nil {
		return err
	}
	return version(gv)
}

// storageCodec encodes objects for the storage: protobuf of the version that the rows name, and back with defaults.
func storageCodec(s *runtime.Scheme, codecs serializer.CodecFactory, rows []*Resource) runtime.Codec {
	var versions schema.GroupVersions
	seen := map[schema.GroupVersion]bool{}
	for _, r := range rows {
		if !seen[r.GroupVersion] {
			seen[r.GroupVersion] = true
			versions = append(versions, r.GroupVersion)
		}
	}
	proto := protobuf.NewSerializer(s, s)
	decoder := recognizer.NewDecoder(proto, codecs.UniversalDeserializer())
	return codecs.CodecForVersions(proto, decoder, versions, runtime.InternalGroupVersioner)
}
