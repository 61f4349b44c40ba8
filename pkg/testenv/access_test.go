// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

func whoAmI(t *testing.T, config *rest.Config) authenticationv1.UserInfo {
	t.Helper()
	review, err := clientset(t, config).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.UserInfo
}

func read(group, resource string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{"get", "list"}}}
}

func TestUserMayDoWhatIsListed(t *testing.T) {
	env := start(t)
	type attempt struct{ group, resource, namespace string }
	pods, secrets, nodes, deployments := attempt{"", "pods", "default"}, attempt{"", "secrets", "default"}, attempt{"", "nodes", ""}, attempt{"apps", "deployments", "kube-system"}
	for _, tt := range []struct {
		name string
		user User
		want map[attempt]bool
	}{
		{"nobody", User{}, map[attempt]bool{pods: false, secrets: false, nodes: false, deployments: false}},
		{"by rules", User{Rules: append(read("", "nodes"), read("apps", "deployments")...)}, map[attempt]bool{pods: false, nodes: true, deployments: true}},
		{"by rules in a namespace", User{NamespaceRules: map[string][]rbacv1.PolicyRule{"default": read("", "secrets")}},
			map[attempt]bool{secrets: true, {"", "secrets", "kube-system"}: false, pods: false}},
		{"by a role that is there", User{ClusterRoles: []string{"view"}}, map[attempt]bool{pods: true, secrets: false, deployments: true}},
		{"by a group", User{Groups: []string{"system:masters"}}, map[attempt]bool{pods: true, secrets: true, nodes: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.user.Name = "user " + tt.name
			config, err := env.User(t.Context(), tt.user)
			if err != nil {
				t.Fatal(err)
			}
			client := clientset(t, config)
			for a, want := range tt.want {
				request := client.CoreV1().RESTClient().Get().AbsPath("/api/v1")
				if a.group != "" {
					request = client.AppsV1().RESTClient().Get()
				}
				err := request.NamespaceIfScoped(a.namespace, a.namespace != "").Resource(a.resource).Do(t.Context()).Error()
				switch {
				case want && err != nil:
					t.Errorf("list %+v: %v", a, err)
				case !want && !apierrors.IsForbidden(err):
					t.Errorf("list %+v is not forbidden: %v", a, err)
				}
			}
		})
	}
}

func TestUserIsWhoIsNamed(t *testing.T) {
	env := start(t)
	user := User{Name: "system:serviceaccount:default:operator", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:default"}}
	config, err := env.User(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	got := whoAmI(t, config)
	if diff := cmp.Diff(append(user.Groups, "system:authenticated"), got.Groups); diff != "" || got.Username != user.Name {
		t.Errorf("it is %s, of groups (-want +got):\n%s", got.Username, diff)
	}
}

func TestUserThatCannotBe(t *testing.T) {
	env := start(t)
	for _, tt := range []struct {
		user User
		want string
	}{
		{User{}, "User.Name is empty: give the user a name"},
		{User{Name: "a", ClusterRoles: []string{"no-such"}}, `grant user a what they may do: clusterroles.rbac.authorization.k8s.io "no-such" not found`},
		{User{Name: "a", NamespaceRules: map[string][]rbacv1.PolicyRule{"no-such": read("", "pods")}}, `grant user a what they may do: namespaces "no-such" not found`},
	} {
		if _, err := env.User(t.Context(), tt.user); err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}
