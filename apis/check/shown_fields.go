// SPDX-License-Identifier: Apache-2.0

// This file holds where the types that kube-apiserver validates are not those of k8s.io/api: in which order they have their fields, and
// which of them stand elsewhere. A value that is shown in an error has them as kube-apiserver's type has.

package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// shownField is a field with its value.
type shownField struct {
	reflect.StructField
	value reflect.Value
}

// layout is how kube-apiserver's own type differs from the one of k8s.io/api: which fields it has not, and which stand behind another one
// ("" for the first place).
type layout struct {
	without []string
	behind  [][2]string
}

// layouts are those of pkg/apis in k8s.io/kubernetes, by the type of k8s.io/api.
var layouts = map[reflect.Type]layout{
	reflect.TypeFor[batchv1.JobSpec]():               {behind: [][2]string{{"ActiveDeadlineSeconds", "SuccessPolicy"}}},
	reflect.TypeFor[corev1.NodeSpec]():               {without: []string{"PodCIDR"}},
	reflect.TypeFor[corev1.PersistentVolumeSource](): {behind: [][2]string{{"Quobyte", "RBD"}, {"FlexVolume", "ISCSI"}}},
	reflect.TypeFor[corev1.PodSecurityContext]():     {behind: [][2]string{{"FSGroupChangePolicy", "FSGroup"}}},
	reflect.TypeFor[corev1.PodSpec](): {
		without: append([]string{"DeprecatedServiceAccount"}, hostFields...),
		behind:  [][2]string{{"SetHostnameAsFQDN", "Subdomain"}, {"PreemptionPolicy", "Priority"}, {"Overhead", "RuntimeClassName"}},
	},
	reflect.TypeFor[corev1.ServiceSpec](): {behind: [][2]string{
		{"Type", ""}, {"IPFamilies", "ClusterIPs"}, {"IPFamilyPolicy", "IPFamilies"}, {"ExternalName", "IPFamilyPolicy"}, {"LoadBalancerIP", "ExternalIPs"},
		{"SessionAffinityConfig", "SessionAffinity"},
	}},
	reflect.TypeFor[corev1.VolumeSource](): {behind: [][2]string{{"Quobyte", "RBD"}}},
}

// hostFields are those of a pod that kube-apiserver's type has in its security context, before the others there.
var hostFields = []string{"HostNetwork", "HostPID", "HostIPC", "ShareProcessNamespace", "HostUsers"}

// fieldsOf are the fields of a struct as kube-apiserver's type has them.
func fieldsOf(v reflect.Value) []shownField {
	all := make([]shownField, v.NumField())
	for i := range all {
		all[i] = shownField{v.Type().Field(i), v.Field(i)}
	}
	l := layouts[v.Type()]
	all = slices.DeleteFunc(all, func(f shownField) bool { return slices.Contains(l.without, f.Name) })
	at := func(name string) int { return slices.IndexFunc(all, func(f shownField) bool { return f.Name == name }) }
	for _, pair := range l.behind {
		i := at(pair[0])
		field := all[i]
		all = slices.Delete(all, i, i+1)
		all = slices.Insert(all, at(pair[1])+1, field) // 0 where the other is ""
	}
	if spec, ok := v.Interface().(corev1.PodSpec); ok {
		all[at("SecurityContext")].value = reflect.ValueOf(securityContext{&spec})
	}
	return all
}

// securityContext is a pod's with what the pod shares with its host, as kube-apiserver's type has it: it is always there.
type securityContext struct{ pod *corev1.PodSpec }

// MarshalJSON implements json.Marshaler.
func (s securityContext) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	for _, name := range hostFields {
		encoded, err := json.Marshal(reflect.ValueOf(s.pod).Elem().FieldByName(name).Interface())
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%q:%s,", name, encoded)
	}
	own := corev1.PodSecurityContext{}
	if s.pod.SecurityContext != nil {
		own = *s.pod.SecurityContext
	}
	rest, err := goNamed{reflect.ValueOf(own)}.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte("{"), out.Bytes(), rest[1:]), nil
}
