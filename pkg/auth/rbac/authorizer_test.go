// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"context"
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

// newAuthorizer reads from informers that hold these objects and never start.
func newAuthorizer(t testing.TB, objects ...any) *Authorizer {
	t.Helper()
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0).Rbac().V1()
	a, err := New(factory)
	if err != nil {
		t.Fatal(err)
	}
	for _, obj := range objects {
		switch obj := obj.(type) {
		case *rbacv1.Role:
			err = factory.Roles().Informer().GetIndexer().Add(obj)
		case *rbacv1.ClusterRole:
			err = factory.ClusterRoles().Informer().GetIndexer().Add(obj)
		case *rbacv1.RoleBinding:
			err = factory.RoleBindings().Informer().GetIndexer().Add(obj)
		case *rbacv1.ClusterRoleBinding:
			err = factory.ClusterRoleBindings().Informer().GetIndexer().Add(obj)
		default:
			err = fmt.Errorf("what is %T", obj)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

func role(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: rules}
}

func clusterBinding(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: role}, Subjects: subjects,
	}
}

func binding(namespace, name, kind, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: rbacv1.RoleRef{Kind: kind, Name: role}, Subjects: subjects,
	}
}

func userSubject(name string) rbacv1.Subject  { return rbacv1.Subject{Kind: "User", Name: name} }
func groupSubject(name string) rbacv1.Subject { return rbacv1.Subject{Kind: "Group", Name: name} }
func accountSubject(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
}

func on(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{
		Verbs: strings.Split(verbs, " "), APIGroups: strings.Split(groups, " "), Resources: strings.Split(resources, " "), ResourceNames: names,
	}
}

func as(name string, groups ...string) user.Info {
	return &user.DefaultInfo{Name: name, Groups: groups}
}

// to is a request like "get pods/log of apps in ns named x": verb, group, resource[/sub], namespace, name.
func to(u user.Info, verb, group, resource, namespace, name string) authorizer.AttributesRecord {
	resource, sub, _ := strings.Cut(resource, "/")
	return authorizer.AttributesRecord{
		User: u, Verb: verb, APIGroup: group, Resource: resource, Subresource: sub, Namespace: namespace, Name: name, ResourceRequest: true,
	}
}

func path(u user.Info, verb, path string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{User: u, Verb: verb, Path: path}
}

func TestAuthorize(t *testing.T) {
	a := newAuthorizer(t,
		clusterRole("admin", on("*", "*", "*")),
		clusterRole("view", on("get list", " apps", "pods pods/log deployments")),
		clusterRole("scaler", on("update", "*", "*/scale")),
		clusterRole("health", rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/livez/*"}}),
		clusterRole("all-paths", rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}),
		role("ns1", "one-secret", on("get", "", "secrets", "mine")),

		clusterBinding("admins", "admin", userSubject("root"), groupSubject("wheel")),
		clusterBinding("scalers", "scaler", accountSubject("kube-system", "hpa")),
		clusterBinding("unqualified", "admin", accountSubject("", "nobody")),
		clusterBinding("monitoring", "health", groupSubject("system:authenticated")),
		clusterBinding("paths", "all-paths", userSubject("prober")),
		clusterBinding("dangling", "gone", userSubject("lost")),
		binding("ns1", "viewers", "ClusterRole", "view", groupSubject("dev"), userSubject("dora")),
		binding("ns1", "local", "Role", "one-secret", accountSubject("", "app")),
		binding("ns2", "remote", "ClusterRole", "view", accountSubject("ns1", "app")),
		binding("ns2", "odd", "Thing", "view", userSubject("odd")),
	)
	tests := []struct {
		name    string
		request authorizer.AttributesRecord
		reason  string // of an allowed request, or why there is no opinion
		allowed bool
	}{
		{"all, by user", to(as("root"), "delete", "apps", "deployments", "ns9", "x"), `RBAC: allowed by ClusterRoleBinding "admins" of ClusterRole "admin" to User "root"`, true},
		{"all, by group", to(as("u", "wheel"), "create", "", "nodes", "", ""), `RBAC: allowed by ClusterRoleBinding "admins" of ClusterRole "admin" to Group "wheel"`, true},
		{"user and group both bound", to(as("root", "wheel"), "get", "", "nodes", "", ""), `RBAC: allowed by ClusterRoleBinding "admins" of ClusterRole "admin" to User "root"`, true},
		{"* on resources is not on paths", path(as("root"), "get", "/metrics"), "", false},
		{"nobody", to(as("stranger", "others"), "get", "", "pods", "ns1", "x"), "", false},
		{"group's name is no user's", to(as("wheel"), "get", "", "pods", "", ""), "", false},
		{"user's name is no group's", to(as("x", "root"), "get", "", "pods", "", ""), "", false},

		{"in namespace", to(as("dora"), "list", "apps", "deployments", "ns1", ""), `RBAC: allowed by RoleBinding "viewers/ns1" of ClusterRole "view" to User "dora"`, true},
		{"the first subject counts", to(as("dora", "dev"), "list", "", "pods", "ns1", ""), `RBAC: allowed by RoleBinding "viewers/ns1" of ClusterRole "view" to Group "dev"`, true},
		{"not in another namespace", to(as("dora"), "list", "apps", "deployments", "ns2", ""), "", false},
		{"not cluster-wide", to(as("dora"), "list", "apps", "deployments", "", ""), "", false},
		{"not another verb", to(as("dora"), "watch", "", "pods", "ns1", ""), "", false},
		{"not another group", to(as("dora"), "get", "batch", "pods", "ns1", "x"), "", false},
		{"subresource named", to(as("dora"), "get", "", "pods/log", "ns1", "x"), `RBAC: allowed by RoleBinding "viewers/ns1" of ClusterRole "view" to User "dora"`, true},
		{"resource does not include subresources", to(as("dora"), "get", "", "pods/exec", "ns1", "x"), "", false},

		{"account of the binding's namespace", to(as("system:serviceaccount:ns1:app"), "get", "", "secrets", "ns1", "mine"),
			`RBAC: allowed by RoleBinding "local/ns1" of Role "one-secret" to ServiceAccount "app/ns1"`, true},
		{"name of the resource", to(as("system:serviceaccount:ns1:app"), "get", "", "secrets", "ns1", "yours"), "", false},
		{"no name, as in list", to(as("system:serviceaccount:ns1:app"), "get", "", "secrets", "ns1", ""), "", false},
		{"account of another namespace", to(as("system:serviceaccount:ns1:app"), "get", "", "pods", "ns2", "x"),
			`RBAC: allowed by RoleBinding "remote/ns2" of ClusterRole "view" to ServiceAccount "app/ns1"`, true},
		{"same account name elsewhere", to(as("system:serviceaccount:ns2:app"), "get", "", "pods", "ns2", "x"), "", false},
		{"account without namespace, cluster-wide", to(as("system:serviceaccount::nobody"), "get", "", "pods", "", "x"), "", false},

		{"*/scale", to(as("system:serviceaccount:kube-system:hpa"), "update", "example.org", "widgets/scale", "ns1", "x"),
			`RBAC: allowed by ClusterRoleBinding "scalers" of ClusterRole "scaler" to ServiceAccount "hpa/kube-system"`, true},
		{"*/scale is not */autoscale", to(as("system:serviceaccount:kube-system:hpa"), "update", "", "widgets/autoscale", "ns1", "x"), "", false},
		{"*/scale is not the resource", to(as("system:serviceaccount:kube-system:hpa"), "update", "", "scale", "ns1", "x"), "", false},

		{"path", path(as("u", "system:authenticated"), "get", "/healthz"), `RBAC: allowed by ClusterRoleBinding "monitoring" of ClusterRole "health" to Group "system:authenticated"`, true},
		{"path is exact", path(as("u", "system:authenticated"), "get", "/healthz/etcd"), "", false},
		{"path with star", path(as("u", "system:authenticated"), "get", "/livez/etcd"), `RBAC: allowed by ClusterRoleBinding "monitoring" of ClusterRole "health" to Group "system:authenticated"`, true},
		{"path with star is below", path(as("u", "system:authenticated"), "get", "/livez"), "", false},
		{"verb of path", path(as("u", "system:authenticated"), "post", "/healthz"), "", false},
		{"all paths", path(as("prober"), "post", "/x"), `RBAC: allowed by ClusterRoleBinding "paths" of ClusterRole "all-paths" to User "prober"`, true},

		{"role is gone", to(as("lost"), "get", "", "pods", "ns1", "x"), `RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found`, false},
		{"kind of role unknown", to(as("odd"), "get", "", "pods", "ns2", "x"), `RBAC: unsupported role reference kind: "Thing"`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			decision, reason, err := a.Authorize(t.Context(), tt.request)
			want := authorizer.DecisionNoOpinion
			if tt.allowed {
				want = authorizer.DecisionAllow
			}
			if decision != want || reason != tt.reason || err != nil {
				t.Errorf("got %v %q %v,\nwant %v %q", decision, reason, err, want, tt.reason)
			}
		})
	}
}

// A binding that applies by several of its subjects tells its rules once.
func TestRulesFor(t *testing.T) {
	a := newAuthorizer(t,
		clusterRole("both", on("get", "", "pods"), rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/version"}}),
		clusterBinding("b", "both", groupSubject("g1"), groupSubject("g2"), userSubject("u")),
		clusterBinding("dangling", "gone", userSubject("u")),
		binding("ns", "n", "ClusterRole", "both", userSubject("u")),
	)
	resources, paths, incomplete, err := a.RulesFor(t.Context(), as("u", "g1", "g2", "g1"), "")
	if len(resources) != 1 || len(paths) != 1 || incomplete || err == nil {
		t.Errorf("cluster-wide: %d resource rules, %d path rules, incomplete %v, %v; want 1, 1, false, an error on the missing role",
			len(resources), len(paths), incomplete, err)
	}
	if resources, _, _, _ = a.RulesFor(t.Context(), as("u"), "ns"); len(resources) != 2 {
		t.Errorf("in namespace: %d resource rules, want 2", len(resources))
	}
}

// Bindings that change are found by their new subjects, not by the old.
func TestIndexFollowsUpdates(t *testing.T) {
	a := newAuthorizer(t, clusterRole("admin", on("*", "*", "*")), clusterBinding("b", "admin", userSubject("old")))
	if err := a.clusterRoleBindings.indexer.Update(clusterBinding("b", "admin", userSubject("new"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]authorizer.Decision{"old": authorizer.DecisionNoOpinion, "new": authorizer.DecisionAllow} {
		if got, _, _ := a.Authorize(t.Context(), to(as(name), "get", "", "pods", "", "")); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func BenchmarkAuthorize(b *testing.B) {
	objects := []any{clusterRole("discovery", rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/api", "/apis/*"}})}
	var rules []rbacv1.PolicyRule
	for i := range 20 {
		rules = append(rules, on("get list watch", "", fmt.Sprintf("things%d", i)))
	}
	objects = append(objects, clusterRole("controller", rules...), clusterBinding("discovery", "discovery", groupSubject("system:authenticated")))
	for i := range 1000 {
		objects = append(objects, binding("ns", fmt.Sprint("b", i), "ClusterRole", "controller", userSubject(fmt.Sprint("u", i))))
	}
	a := newAuthorizer(b, objects...)
	request := to(as("u500", "system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"), "list", "", "things19", "ns", "")
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if d, _, _ := a.Authorize(ctx, request); d != authorizer.DecisionAllow {
			b.Fatal(d)
		}
	}
}
