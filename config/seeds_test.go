// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

func objects(t testing.TB) []runtime.Object {
	t.Helper()
	list, err := Objects()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Every binding is to a role that is there, of subjects that can be; nothing is there twice; what others build on is there.
func TestObjects(t *testing.T) {
	names := map[string]bool{}
	id := func(kind, namespace, name string) string { return kind + " " + namespace + "/" + name }
	for _, obj := range objects(t) {
		m, err := meta.Accessor(obj)
		if err != nil {
			t.Fatal(err)
		}
		key := id(obj.GetObjectKind().GroupVersionKind().Kind, m.GetNamespace(), m.GetName())
		if names[key] {
			t.Errorf("%s is there twice", key)
		}
		names[key] = true
	}
	for _, name := range []string{
		"Namespace /default", "Namespace /kube-system", "Namespace /kube-public", "Namespace /kube-node-lease",
		"PriorityClass /system-node-critical", "PriorityClass /system-cluster-critical", "StorageClass /local",
		"ClusterRole /cluster-admin", "ClusterRole /admin", "ClusterRole /edit", "ClusterRole /view", "ClusterRole /system:node",
		"ClusterRole /system:basic-user", "ClusterRole /system:discovery", "ClusterRole /system:public-info-viewer", "ClusterRole /system:monitoring",
		"ClusterRole /system:kube-scheduler", "ClusterRole /system:auth-delegator", "ClusterRole /system:controller:deployment-controller",
		"ClusterRoleBinding /system:controller:deployment-controller", "Role kube-system/extension-apiserver-authentication-reader",
		"Role kube-public/system:controller:bootstrap-signer",
	} {
		if !names[name] {
			t.Errorf("%s is missing", name)
		}
	}

	check := func(binding metav1.Object, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		t.Helper()
		namespace := ""
		if ref.Kind == "Role" {
			namespace = binding.GetNamespace()
		}
		if !names[id(ref.Kind, namespace, ref.Name)] || ref.APIGroup != rbacv1.GroupName {
			t.Errorf("%s is bound to %+v, which is not there", binding.GetName(), ref)
		}
		for _, s := range subjects {
			account := s.Kind == rbacv1.ServiceAccountKind && s.APIGroup == "" && s.Namespace != ""
			person := (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) && s.APIGroup == rbacv1.GroupName && s.Namespace == ""
			if s.Name == "" || !account && !person {
				t.Errorf("%s has subject %+v", binding.GetName(), s)
			}
		}
	}
	for _, b := range of[*rbacv1.ClusterRoleBinding](objects(t)) {
		check(b, b.RoleRef, b.Subjects)
		// Controllers act as the account that their binding is named for.
		if name, ok := strings.CutPrefix(b.Name, "system:controller:"); ok {
			if want := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "kube-system", Name: name}}; !slices.Equal(b.Subjects, want) {
				t.Errorf("%s has subjects %+v, want %+v", b.Name, b.Subjects, want)
			}
		}
		if b.Labels["kubernetes.io/bootstrapping"] != "rbac-defaults" || b.Annotations[rbacv1.AutoUpdateAnnotationKey] != "true" {
			t.Errorf("%s is not marked: %v %v", b.Name, b.Labels, b.Annotations)
		}
	}
	for _, b := range of[*rbacv1.RoleBinding](objects(t)) {
		check(b, b.RoleRef, b.Subjects)
	}
	for _, r := range of[*rbacv1.ClusterRole](objects(t)) {
		if r.AggregationRule == nil {
			continue
		}
		for key := range r.AggregationRule.ClusterRoleSelectors[0].MatchLabels {
			if !slices.ContainsFunc(of[*rbacv1.ClusterRole](objects(t)), func(other *rbacv1.ClusterRole) bool { return other.Labels[key] == "true" }) {
				t.Errorf("no role has label %s, which %s gathers", key, r.Name)
			}
		}
	}
}

func writes(client *fake.Clientset) []string {
	var list []string
	for _, a := range client.Actions() {
		if a.GetVerb() == "list" {
			continue
		}
		name := ""
		switch a := a.(type) {
		case ktesting.UpdateAction:
			if m, err := meta.Accessor(a.GetObject()); err == nil {
				name = m.GetName()
			}
		case ktesting.DeleteAction:
			name = a.GetName()
		}
		list = append(list, fmt.Sprintf("%s %s %s", a.GetVerb(), a.GetResource().Resource, name))
	}
	return list
}

// What a later start mends, and what it leaves alone.
func TestEnsureAgain(t *testing.T) {
	ctx := context.Background()
	clusterRole := func(t *testing.T, c *fake.Clientset, name string, change func(*rbacv1.ClusterRole)) {
		t.Helper()
		r, err := c.RbacV1().ClusterRoles().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		if _, err := c.RbacV1().ClusterRoles().Update(ctx, r, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	clusterBinding := func(t *testing.T, c *fake.Clientset, name string, change func(*rbacv1.ClusterRoleBinding)) {
		t.Helper()
		b, err := c.RbacV1().ClusterRoleBindings().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		change(b)
		if _, err := c.RbacV1().ClusterRoleBindings().Update(ctx, b, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		change func(t *testing.T, c *fake.Clientset)
		want   []string
	}{
		{"nothing changed", func(*testing.T, *fake.Clientset) {}, nil},
		{"a rule less", func(t *testing.T, c *fake.Clientset) {
			clusterRole(t, c, "system:kube-dns", func(r *rbacv1.ClusterRole) { r.Rules = r.Rules[:0] })
		}, []string{"update clusterroles system:kube-dns"}},
		{"a rule more", func(t *testing.T, c *fake.Clientset) {
			clusterRole(t, c, "system:kube-dns", func(r *rbacv1.ClusterRole) {
				r.Rules = append(r.Rules, rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}})
			})
		}, nil},
		{"rules gathered into view", func(t *testing.T, c *fake.Clientset) {
			clusterRole(t, c, "view", func(r *rbacv1.ClusterRole) {
				r.Rules = append(r.Rules, rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}})
			})
		}, nil},
		{"gathering turned off", func(t *testing.T, c *fake.Clientset) {
			clusterRole(t, c, "view", func(r *rbacv1.ClusterRole) { r.AggregationRule = nil })
		}, []string{"update clusterroles view"}},
		{"gathering turned on", func(t *testing.T, c *fake.Clientset) {
			clusterRole(t, c, "cluster-admin", func(r *rbacv1.ClusterRole) { r.AggregationRule = &rbacv1.AggregationRule{} })
		}, []string{"update clusterroles cluster-admin"}},
		{"a label less", func(t *testing.T, c *fake.Clientset) {
			clusterRole(t, c, "edit", func(r *rbacv1.ClusterRole) { delete(r.Labels, "rbac.authorization.k8s.io/aggregate-to-admin") })
		}, []string{"update clusterroles edit"}},
		{"a protected role", func(t *testing.T, c *fake.Clientset) {
			clusterRole(t, c, "system:kube-dns", func(r *rbacv1.ClusterRole) {
				r.Rules, r.Annotations = nil, map[string]string{rbacv1.AutoUpdateAnnotationKey: "false"}
			})
		}, nil},
		{"a subject less", func(t *testing.T, c *fake.Clientset) {
			clusterBinding(t, c, "system:discovery", func(b *rbacv1.ClusterRoleBinding) { b.Subjects = nil })
		}, []string{"update clusterrolebindings system:discovery"}},
		{"a subject more", func(t *testing.T, c *fake.Clientset) {
			clusterBinding(t, c, "system:discovery", func(b *rbacv1.ClusterRoleBinding) {
				b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "User", Name: "x"})
			})
		}, nil},
		{"another role", func(t *testing.T, c *fake.Clientset) {
			clusterBinding(t, c, "system:discovery", func(b *rbacv1.ClusterRoleBinding) { b.RoleRef.Name = "x" })
		}, []string{"create clusterrolebindings system:discovery", "delete clusterrolebindings system:discovery"}},
		{"a binding in a namespace is gone", func(t *testing.T, c *fake.Clientset) {
			if err := c.RbacV1().RoleBindings("kube-system").Delete(ctx, "system::leader-locking-kube-scheduler", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}, []string{"create rolebindings system::leader-locking-kube-scheduler"}},
		{"the storage class is changed", func(t *testing.T, c *fake.Clientset) {
			if _, err := c.StorageV1().StorageClasses().Update(ctx, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local"}}, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := fake.NewClientset()
			if err := Ensure(ctx, client); err != nil {
				t.Fatal(err)
			}
			if got, want := len(writes(client)), len(objects(t)); got != want {
				t.Fatalf("first start: %d writes for %d objects", got, want)
			}
			tt.change(t, client)
			client.ClearActions()
			if err := Ensure(ctx, client); err != nil {
				t.Fatal(err)
			}
			got := writes(client)
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("wrote %q, want %q", got, tt.want)
			}
			client.ClearActions()
			if err := Ensure(ctx, client); err != nil {
				t.Fatal(err)
			}
			if got := writes(client); len(got) > 0 {
				t.Errorf("a third start wrote %q", got)
			}
		})
	}
}

// Another server was quicker with some object: the start looks again and goes on. An error that lasts is told.
func TestEnsureRaces(t *testing.T) {
	client := fake.NewClientset()
	lost := false
	client.PrependReactor("create", "clusterroles", func(a ktesting.Action) (bool, runtime.Object, error) {
		if name := a.(ktesting.CreateAction).GetObject().(metav1.Object).GetName(); name == "view" && !lost {
			lost = true
			return true, nil, apierrors.NewAlreadyExists(rbacv1.Resource("clusterroles"), name)
		}
		return false, nil, nil
	})
	if err := Ensure(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if _, err := client.RbacV1().ClusterRoles().Get(t.Context(), "view", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}

	client = fake.NewClientset()
	client.PrependReactor("create", "clusterroles", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewInternalError(fmt.Errorf("disk is full"))
	})
	if err := Ensure(t.Context(), client); err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkObjects(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		objects(b)
	}
}
