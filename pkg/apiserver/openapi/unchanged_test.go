// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"fmt"
	"math/rand"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// Objects of every kind, filled at random and changed in some of their fields, differ in the same fields as without leaving out any.
func TestCompareFindsWhatChanged(t *testing.T) {
	c := newConverter(t)
	random := rand.New(rand.NewSource(1))
	fill := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(1), serializer.NewCodecFactory(scheme.Scheme)).NilChance(0.3).NumElements(0, 2)
	tested, changed := 0, 0
	for gvk := range scheme.Scheme.AllKnownTypes() {
		if _, ok := c.table.Type(gvk); !ok {
			continue
		}
		for range 20 {
			old, other := filled(t, fill, gvk), filled(t, fill, gvk)
			now := old.DeepCopyObject()
			for i := range reflect.TypeOf(now).Elem().NumField() {
				if random.Intn(3) == 0 {
					reflect.ValueOf(now).Elem().Field(i).Set(reflect.ValueOf(other).Elem().Field(i))
				}
			}
			want, err := compare(t, c, old, now, func(obj runtime.Object) value.Value { return mustValue(value.NewValueReflect(obj)) })
			if err != nil {
				continue // invalid at random
			}
			got, err := compare(t, c, old, now, func(obj runtime.Object) value.Value { return mustValue(newObject(obj)) })
			if err != nil {
				t.Fatalf("%s: %v", gvk, err)
			}
			if got.String() != want.String() {
				t.Fatalf("%s: differences\n%swant\n%s", gvk, got, want)
			}
			tested++
			if !got.IsSame() {
				changed++
			}
		}
	}
	if tested < 1000 || changed < tested/4 {
		t.Errorf("only %d objects were compared, of which %d changed", tested, changed)
	}
}

func mustValue(v value.Value, err error) value.Value {
	if err != nil {
		panic(err)
	}
	return v
}

func compare(t *testing.T, c *TypeConverter, old, now runtime.Object, as func(runtime.Object) value.Value) (*typed.Comparison, error) {
	gvk := old.GetObjectKind().GroupVersionKind()
	group, err := c.group(gvk.Group)
	if err != nil {
		t.Fatal(err)
	}
	name, _ := c.table.Type(gvk)
	kind := group.Type(name)
	return typed.AsTypedUnvalidated(as(old), kind.Schema, kind.TypeRef).Compare(typed.AsTypedUnvalidated(as(now), kind.Schema, kind.TypeRef)) //nolint:staticcheck // as TypeConverter does
}

// BenchmarkStatusUpdate is what field managers do where a kubelet writes the status of a pod.
func BenchmarkStatusUpdate(b *testing.B) {
	gvk := corev1.SchemeGroupVersion.WithKind("Pod")
	manager, err := managedfields.NewDefaultFieldManager(newConverter(b), scheme.Scheme, scheme.Scheme, scheme.Scheme, gvk, gvk.GroupVersion(), "status", nil)
	if err != nil {
		b.Fatal(err)
	}
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", Labels: map[string]string{"app": "a"}}}
	for i := range 2 {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: fmt.Sprint(i), Image: "image", ImagePullPolicy: corev1.PullAlways,
			Env:          []corev1.EnvVar{{Name: "A", Value: "a"}, {Name: "B", Value: "b"}},
			VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}, {Name: "w", MountPath: "/w"}},
			Ports:        []corev1.ContainerPort{{ContainerPort: 80, Protocol: corev1.ProtocolTCP}}})
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: fmt.Sprint(i), Image: "image"})
	}
	pod.Spec.Volumes = []corev1.Volume{{Name: "v"}, {Name: "w"}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
	live := manager.UpdateNoErrors(&corev1.Pod{TypeMeta: pod.TypeMeta}, pod, "creator")
	now := live.DeepCopyObject().(*corev1.Pod)
	now.Status.Conditions[0].Status = corev1.ConditionTrue
	b.ReportAllocs()
	for b.Loop() {
		manager.UpdateNoErrors(live, now.DeepCopy(), "kubelet")
	}
}
