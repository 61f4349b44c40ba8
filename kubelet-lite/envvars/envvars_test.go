// SPDX-License-Identifier: Apache-2.0

package envvars

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

type objects struct{}

func (objects) GetConfigMap(_, name string) (*v1.ConfigMap, error) {
	if name != "conf" {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
	}
	return &v1.ConfigMap{Data: map[string]string{"color": "green", "size": "big"}}, nil
}

func (objects) GetSecret(_, name string) (*v1.Secret, error) {
	if name != "pass" {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
	}
	return &v1.Secret{Data: map[string][]byte{"word": []byte("sesame")}}, nil
}

func local(name string) v1.LocalObjectReference { return v1.LocalObjectReference{Name: name} }

func TestExpand(t *testing.T) {
	values := map[string]string{"A": "1", "B": "two"}
	for text, want := range map[string]string{
		"": "", "plain": "plain", "$(A)": "1", "x$(A)y$(B)z": "x1ytwoz", "$(C)": "$(C)", "$$(A)": "$(A)", "$$$(A)": "$1", "$": "$", "$A": "$A", "$(A": "$(A", "a$$b": "a$b", "$()": "$()",
	} {
		if got := Expand(text, func(n string) (string, bool) { v, ok := values[n]; return v, ok }); got != want {
			t.Errorf("%q expands to %q, want %q", text, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	index := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, s := range []*v1.Service{
		{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes", Namespace: "default"}, Spec: v1.ServiceSpec{ClusterIP: "10.43.0.1", Ports: []v1.ServicePort{{Name: "https", Port: 443, Protocol: v1.ProtocolTCP}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "my-db", Namespace: "shop"}, Spec: v1.ServiceSpec{ClusterIP: "10.43.0.9", Ports: []v1.ServicePort{{Port: 5432}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "headless", Namespace: "shop"}, Spec: v1.ServiceSpec{ClusterIP: "None", Ports: []v1.ServicePort{{Port: 1}}}},
	} {
		if err := index.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "env"), []byte("# comment\nKEY='from a file'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Labels: map[string]string{"tier": "front"}}, Spec: v1.PodSpec{NodeName: "n1"}}
	yes, no := true, false
	for _, c := range []struct {
		name  string
		c     v1.Container
		links *bool
		want  []string
		fails string
	}{
		{"values refer to earlier ones", v1.Container{Env: []v1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)$(C)"}, {Name: "C", Value: "3"}}}, &no, []string{"A=1", "B=1$(C)", "C=3"}, ""},
		{"services", v1.Container{Env: []v1.EnvVar{{Name: "URL", Value: "db://$(MY_DB_SERVICE_HOST)"}}}, &yes, []string{"URL=db://10.43.0.9",
			"MY_DB_SERVICE_PORT=5432", "MY_DB_PORT=tcp://10.43.0.9:5432", "MY_DB_PORT_5432_TCP_ADDR=10.43.0.9", "KUBERNETES_SERVICE_HOST=10.43.0.1", "KUBERNETES_SERVICE_PORT_HTTPS=443"}, ""},
		{"no links", v1.Container{}, &no, []string{"KUBERNETES_SERVICE_HOST=10.43.0.1", "!MY_DB_SERVICE_HOST"}, ""},
		{"fields", v1.Container{Env: []v1.EnvVar{field("N", "metadata.name"), field("L", "metadata.labels['tier']"), field("IP", "status.podIPs"), field("H", "status.hostIP"), field("NODE", "spec.nodeName")}}, &no,
			[]string{"N=web", "L=front", "IP=10.0.0.1,fd00::1", "H=192.0.2.1", "NODE=n1"}, ""},
		{"resources", v1.Container{Name: "c", Resources: v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("250m")}},
			Env: []v1.EnvVar{amount("CPU", "requests.cpu", "1"), amount("MILLI", "requests.cpu", "1m"), amount("MEM", "limits.memory", "1Mi")}}, &no, []string{"CPU=1", "MILLI=250", "MEM=1024"}, ""},
		{"from all keys, env wins", v1.Container{EnvFrom: []v1.EnvFromSource{{Prefix: "P_", ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: local("conf")}},
			{SecretRef: &v1.SecretEnvSource{LocalObjectReference: local("pass")}}}, Env: []v1.EnvVar{{Name: "word", Value: "mine"}}}, &no, []string{"P_color=green", "P_size=big", "word=mine"}, ""},
		{"from keys", v1.Container{Env: []v1.EnvVar{{Name: "C", ValueFrom: &v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: local("conf"), Key: "color"}}},
			{Name: "S", ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: local("pass"), Key: "word"}}}}}, &no, []string{"C=green", "S=sesame"}, ""},
		{"optional and absent", v1.Container{EnvFrom: []v1.EnvFromSource{{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: local("none"), Optional: &yes}}},
			Env: []v1.EnvVar{{Name: "C", ValueFrom: &v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: local("conf"), Key: "none", Optional: &yes}}}}}, &no, []string{"!C"}, ""},
		{"missing object", v1.Container{EnvFrom: []v1.EnvFromSource{{SecretRef: &v1.SecretEnvSource{LocalObjectReference: local("none")}}}}, &no, nil, `secrets "none" not found`},
		{"missing key", v1.Container{Env: []v1.EnvVar{{Name: "C", ValueFrom: &v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: local("conf"), Key: "none"}}}}}, &no, nil,
			"couldn't find key none in ConfigMap shop/conf"},
		{"file", v1.Container{Env: []v1.EnvVar{{Name: "F", ValueFrom: &v1.EnvVarSource{FileKeyRef: &v1.FileKeySelector{VolumeName: "v", Path: "env", Key: "KEY"}}}}}, &no, []string{"F=from a file"}, ""},
		{"file outside of its volume", v1.Container{Env: []v1.EnvVar{{Name: "F", ValueFrom: &v1.EnvVarSource{FileKeyRef: &v1.FileKeySelector{VolumeName: "v", Path: "../env", Key: "KEY"}}}}}, &no, nil, "couldn't parse env file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := pod.DeepCopy()
			pod.Spec.EnableServiceLinks = c.links
			pod.Spec.Containers = []v1.Container{c.c}
			r := Resolver{Objects: objects{}, Services: corelisters.NewServiceLister(index), HostIPs: []string{"192.0.2.1"},
				Allocatable: func() v1.ResourceList { return v1.ResourceList{v1.ResourceMemory: resource.MustParse("1Gi")} }}
			vars, err := r.Environment(pod, &pod.Spec.Containers[0], []string{"10.0.0.1", "fd00::1"}, map[string]string{"v": dir})
			if c.fails != "" {
				if err == nil || err.Error() != c.fails {
					t.Errorf("error is %v, want %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range vars {
				got = append(got, v.Name+"="+v.Value)
			}
			for _, want := range c.want {
				if absent, ok := strings.CutPrefix(want, "!"); ok {
					if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, absent+"=") }) {
						t.Errorf("%s is in %q", absent, got)
					}
				} else if !slices.Contains(got, want) {
					t.Errorf("%q is not in %q", want, got)
				}
			}
		})
	}
}

func field(name, path string) v1.EnvVar {
	return v1.EnvVar{Name: name, ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: path}}}
}

func amount(name, what, divisor string) v1.EnvVar {
	return v1.EnvVar{Name: name, ValueFrom: &v1.EnvVarSource{ResourceFieldRef: &v1.ResourceFieldSelector{Resource: what, Divisor: resource.MustParse(divisor)}}}
}
