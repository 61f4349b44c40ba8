// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/x509/pkix"
	"io"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// attempt is something that somebody tries. want is what the refusal says; without it, it must be allowed.
type attempt struct {
	name string
	who  *user.DefaultInfo
	as   rest.ImpersonationConfig
	try  func(ctx context.Context, c kubernetes.Interface) error
	want string
}

func (c *cluster) attempt(t *testing.T, attempts []attempt) {
	t.Helper()
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) {
			config := c.server.loopback.Config(a.who)
			config.Impersonate = a.as
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			err = a.try(t.Context(), client)
			switch {
			case a.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case a.want != "" && err == nil:
				t.Errorf("allowed; want %s", a.want)
			case a.want != "" && !strings.Contains(err.Error(), a.want):
				t.Errorf("got  %v\nwant %s", err, a.want)
			}
		})
	}
}

// grant binds a user to new rules in the whole cluster, and waits until they count. The last rule, where it is of a path, has to allow to get it.
func (c *cluster) grant(t *testing.T, who string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "test-" + who}, Rules: rules}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: role.ObjectMeta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: who}}}
	if _, err := c.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the role of "+who+" to count", func() (bool, error) {
		r := rules[len(rules)-1]
		if len(r.NonResourceURLs) > 0 {
			return c.allowed(t, authenticated(who), nil, r.NonResourceURLs[0]), nil
		}
		a := &authorizationv1.ResourceAttributes{Verb: r.Verbs[0], Group: r.APIGroups[0]}
		a.Resource, a.Subresource, _ = strings.Cut(r.Resources[0], "/")
		if len(r.ResourceNames) > 0 {
			a.Name = r.ResourceNames[0]
		}
		return c.allowed(t, authenticated(who), a, ""), nil
	})
}

func rule(verbs, group, resources string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Split(verbs, ","), APIGroups: []string{group}, Resources: strings.Split(resources, ","), ResourceNames: names}
}

// Nobody gets more than they have by way of roles.
func TestEscalationByRoles(t *testing.T) {
	c := newCluster(t)
	storeAccess(t, c)
	owner := authenticated("owner") // admin of the namespace default
	c.grant(t, "writer", rule("create,update", rbacv1.GroupName, "clusterroles,clusterrolebindings"))
	c.grant(t, "binder", rule("create,update", rbacv1.GroupName, "clusterrolebindings"), rule("bind", rbacv1.GroupName, "clusterroles", "view"))
	c.grant(t, "escalator", rule("create,update", rbacv1.GroupName, "clusterroles"), rule("escalate", rbacv1.GroupName, "clusterroles"))

	meta := metav1.ObjectMeta{Name: "more"}
	nodes := rule("get", "", "nodes")
	role := func(rules ...rbacv1.PolicyRule) func(context.Context, kubernetes.Interface) error {
		return func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.RbacV1().Roles("default").Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{DryRun: []string{"All"}})
			return err
		}
	}
	clusterRole := func(role rbacv1.ClusterRole) func(context.Context, kubernetes.Interface) error {
		role.Name = "more"
		return func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.RbacV1().ClusterRoles().Create(ctx, &role, metav1.CreateOptions{DryRun: []string{"All"}})
			return err
		}
	}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "anyone"}}
	bind := func(kind, name string) func(context.Context, kubernetes.Interface) error {
		return func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subjects,
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}}, metav1.CreateOptions{DryRun: []string{"All"}})
			return err
		}
	}
	clusterBind := func(name string) func(context.Context, kubernetes.Interface) error {
		return func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: subjects,
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}}, metav1.CreateOptions{DryRun: []string{"All"}})
			return err
		}
	}
	// What an administrator made in the namespace, which its owner may change within what they have.
	if _, err := c.RbacV1().Roles("default").Create(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "strong"}, Rules: []rbacv1.PolicyRule{nodes}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RbacV1().RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "strong"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "strong"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the strong role to be known", func() (bool, error) {
		_, err := c.server.Informers().Rbac().V1().Roles().Lister().Roles("default").Get("strong")
		return err == nil, err
	})
	patch := func(resource, name, text string, kind types.PatchType) func(context.Context, kubernetes.Interface) error {
		return func(ctx context.Context, c kubernetes.Interface) error {
			return c.RbacV1().RESTClient().Patch(kind).Namespace("default").Resource(resource).Name(name).
				Param("dryRun", "All").Param("fieldManager", "test").Body([]byte(text)).Do(ctx).Error()
		}
	}
	const held = ` is attempting to grant RBAC permissions not currently held:` + "\n"
	const ownerHas = `user "owner" (groups=["system:authenticated"])` + held
	const getNodes = `{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}`
	c.attempt(t, []attempt{
		{"a role within what one has", owner, rest.ImpersonationConfig{}, role(rule("get,list", "", "pods,secrets")), ""},
		{"a role of more", owner, rest.ImpersonationConfig{}, role(nodes), `roles.rbac.authorization.k8s.io "more" is forbidden: ` + ownerHas + getNodes},
		{"a role of everything", owner, rest.ImpersonationConfig{}, role(rule("*", "*", "*")), `roles.rbac.authorization.k8s.io "more" is forbidden: ` + ownerHas + `{APIGroups:["*"], Resources:["*"], Verbs:["*"]}`},
		{"a role of all verbs", owner, rest.ImpersonationConfig{}, role(rule("*", "", "pods")), `roles.rbac.authorization.k8s.io "more" is forbidden: ` + ownerHas + `{APIGroups:[""], Resources:["pods"], Verbs:["*"]}`},
		{"the verb bind", owner, rest.ImpersonationConfig{}, role(rule("bind", rbacv1.GroupName, "clusterroles")), `roles.rbac.authorization.k8s.io "more" is forbidden: ` + ownerHas},
		{"the verb escalate", owner, rest.ImpersonationConfig{}, role(rule("escalate", rbacv1.GroupName, "roles")), `roles.rbac.authorization.k8s.io "more" is forbidden: ` + ownerHas},
		{"the verb impersonate", owner, rest.ImpersonationConfig{}, role(rule("impersonate", "", "users")), `roles.rbac.authorization.k8s.io "more" is forbidden: ` + ownerHas},
		{"more in a patch", owner, rest.ImpersonationConfig{}, patch("roles", "strong", `{"rules":[{"verbs":["get","list"],"apiGroups":[""],"resources":["nodes"]}]}`, types.MergePatchType),
			`roles.rbac.authorization.k8s.io "strong" is forbidden: ` + ownerHas + `{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}`},
		{"less in a patch", owner, rest.ImpersonationConfig{}, patch("roles", "strong", `{"rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]}`, types.MergePatchType), ""},
		{"more by apply", owner, rest.ImpersonationConfig{}, patch("roles", "applied", `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"applied"},"rules":[{"verbs":["get"],"apiGroups":[""],"resources":["nodes"]}]}`, types.ApplyPatchType),
			`roles.rbac.authorization.k8s.io "applied" is forbidden: ` + ownerHas + getNodes},
		{"a cluster role", owner, rest.ImpersonationConfig{}, clusterRole(rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{rule("get", "", "pods")}}),
			`clusterroles.rbac.authorization.k8s.io is forbidden: User "owner" cannot create resource "clusterroles" in API group "rbac.authorization.k8s.io" at the cluster scope`},

		{"bind what one has", owner, rest.ImpersonationConfig{}, bind("ClusterRole", "edit"), ""},
		{"bind more", owner, rest.ImpersonationConfig{}, bind("ClusterRole", "cluster-admin"), `rolebindings.rbac.authorization.k8s.io "more" is forbidden: ` + ownerHas + `{APIGroups:["*"], Resources:["*"], Verbs:["*"]}`},
		{"bind a role of more in the namespace", owner, rest.ImpersonationConfig{}, bind("Role", "strong"), `rolebindings.rbac.authorization.k8s.io "more" is forbidden: ` + ownerHas + getNodes},
		{"bind a role that is not there", owner, rest.ImpersonationConfig{}, bind("Role", "none"), `role.rbac.authorization.k8s.io "none" not found`},
		{"join a binding of more", owner, rest.ImpersonationConfig{}, patch("rolebindings", "strong", `{"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"owner"}]}`, types.MergePatchType),
			`rolebindings.rbac.authorization.k8s.io "strong" is forbidden: ` + ownerHas + getNodes},

		{"a writer of cluster roles", authenticated("writer"), rest.ImpersonationConfig{}, clusterRole(rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{nodes}}),
			`clusterroles.rbac.authorization.k8s.io "more" is forbidden: user "writer" (groups=["system:authenticated"])` + held + getNodes},
		{"a role that gathers others", authenticated("binder"), rest.ImpersonationConfig{}, clusterRole(rbacv1.ClusterRole{}), `clusterroles.rbac.authorization.k8s.io is forbidden: User "binder" cannot create`},
		{"bind by the verb", authenticated("binder"), rest.ImpersonationConfig{}, clusterBind("view"), ""},
		{"bind another by the verb", authenticated("binder"), rest.ImpersonationConfig{}, clusterBind("edit"), `clusterrolebindings.rbac.authorization.k8s.io "more" is forbidden: user "binder"`},
		{"a role of more by the verb", authenticated("escalator"), rest.ImpersonationConfig{}, clusterRole(rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{nodes}}), ""},
	})

	// A right over all of the group is one to bind and to escalate, as the verb * has them; without it a role that gathers others is
	// for who has everything.
	c.grant(t, "author", rule("create,update", rbacv1.GroupName, "clusterroles"), nodes)
	gathers := rbacv1.ClusterRole{AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "b"}}}}}
	joins := rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-view": "true"}}}
	c.attempt(t, []attempt{
		{"a role of what one has", authenticated("author"), rest.ImpersonationConfig{}, clusterRole(rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{nodes}}), ""},
		{"a role that gathers", authenticated("author"), rest.ImpersonationConfig{}, clusterRole(gathers),
			`clusterroles.rbac.authorization.k8s.io "more" is forbidden: must have cluster-admin privileges to use the aggregationRule`},
		{"a role that view gathers", authenticated("author"), rest.ImpersonationConfig{}, clusterRole(rbacv1.ClusterRole{ObjectMeta: joins.ObjectMeta, Rules: []rbacv1.PolicyRule{rule("get", "", "secrets")}}),
			`clusterroles.rbac.authorization.k8s.io "more" is forbidden: user "author" (groups=["system:authenticated"])` + held + `{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}`},
	})
}

// Who may act as somebody may act as nobody else.
func TestEscalationByImpersonation(t *testing.T) {
	c := newCluster(t)
	storeAccess(t, c)
	c.grant(t, "actor", rule("impersonate", "", "users", "bob"))
	c.grant(t, "helpdesk", rule("impersonate", "", "users", "bob"), rule("impersonate", "", "groups", "staff"),
		rule("impersonate", "authentication.k8s.io", "userextras/scopes", "read"), rule("impersonate", "authentication.k8s.io", "uids", "7"))
	owner, actor, helpdesk := authenticated("owner"), authenticated("actor"), authenticated("helpdesk")
	eventually(t, "the owner's role, which is put together of others, to count", func() (bool, error) {
		return c.allowed(t, owner, &authorizationv1.ResourceAttributes{Verb: "impersonate", Resource: "serviceaccounts", Namespace: "default", Name: "used"}, ""), nil
	})
	var got authenticationv1.UserInfo
	whoAmI := func(ctx context.Context, c kubernetes.Interface) error {
		r, err := c.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err == nil {
			got = r.Status.UserInfo
		}
		return err
	}
	pods := func(ctx context.Context, c kubernetes.Interface) error {
		_, err := c.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err
	}
	as := func(name string, groups ...string) rest.ImpersonationConfig {
		return rest.ImpersonationConfig{UserName: name, Groups: groups}
	}
	cannot := func(who, resource, group, name string) string {
		return resource + ` "` + name + `" is forbidden: User "` + who + `" cannot impersonate resource "` + strings.Split(strings.SplitN(resource, ".", 2)[0], "/")[0] + `" in API group "` + group + `"`
	}
	// Who may act as this user is told what they asked for that is too much by the request that they may not send.
	const refused = ` is forbidden: User "helpdesk" cannot impersonate`
	c.attempt(t, []attempt{
		{"a user that one may act as", actor, as("bob"), whoAmI, ""},
		{"another user", actor, as("root"), whoAmI, cannot("actor", "users", "", "root") + ` at the cluster scope`},
		{"the user as administrator", actor, as("bob", "system:masters"), whoAmI, cannot("actor", "groups", "", "system:masters")},
		{"a group of one's own choice", helpdesk, as("bob", "staff", "system:masters"), whoAmI, refused},
		{"a uid", actor, rest.ImpersonationConfig{UserName: "bob", UID: "7"}, whoAmI, cannot("actor", "uids.authentication.k8s.io", "authentication.k8s.io", "7")},
		{"another uid", helpdesk, rest.ImpersonationConfig{UserName: "bob", UID: "8"}, whoAmI, refused},
		{"an extra", actor, rest.ImpersonationConfig{UserName: "bob", Extra: map[string][]string{"scopes": {"read"}}}, whoAmI,
			`userextras.authentication.k8s.io "read" is forbidden: User "actor" cannot impersonate resource "userextras/scopes" in API group "authentication.k8s.io" at the cluster scope`},
		{"another extra", helpdesk, rest.ImpersonationConfig{UserName: "bob", Extra: map[string][]string{"scopes": {"read", "write"}}}, whoAmI,
			refused},
		{"a group without a user", actor, as("", "staff"), whoAmI, "without impersonating a user name"},
		{"a ServiceAccount of one's namespace", owner, as("system:serviceaccount:default:used"), whoAmI, ""},
		{"a ServiceAccount of another", owner, as("system:serviceaccount:kube-system:namespace-controller"), whoAmI,
			cannot("owner", "serviceaccounts", "", "namespace-controller") + ` in the namespace "kube-system"`},
		{"a node", owner, as("system:node:used", "system:nodes"), whoAmI, cannot("owner", "users", "", "system:node:used")},
		{"nobody in particular", owner, as("system:anonymous"), whoAmI, cannot("owner", "users", "", "system:anonymous")},
		{"what the other may not do", actor, as("bob"), pods, `pods is forbidden: User "bob" cannot list resource "pods"`},
		{"all that one may", helpdesk, rest.ImpersonationConfig{UserName: "bob", UID: "7", Groups: []string{"staff"}, Extra: map[string][]string{"scopes": {"read"}}}, whoAmI, ""},
	})
	want := authenticationv1.UserInfo{Username: "bob", UID: "7", Groups: []string{"staff", "system:authenticated"}, Extra: map[string]authenticationv1.ExtraValue{"scopes": {"read"}}}
	if !strings.EqualFold(got.String(), want.String()) {
		t.Errorf("acts as %v, want %v", got, want)
	}
}

// Certificates are no way to become somebody.
func TestEscalationByCertificates(t *testing.T) {
	c := newCluster(t)
	rest := rest.ImpersonationConfig{}
	all := "create,get,update"
	c.grant(t, "approver", rule(all, "certificates.k8s.io", "certificatesigningrequests,certificatesigningrequests/approval,certificatesigningrequests/status"),
		rule("approve", "certificates.k8s.io", "signers", "example.com/one"), rule("sign", "certificates.k8s.io", "signers", "example.com/*"))
	ask := func(name, signer string, subject pkix.Name) *certificatesv1.CertificateSigningRequest {
		csr, _ := request(t, name, signer, subject, certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature)
		return csr
	}
	masters := pkix.Name{CommonName: "me", Organization: []string{"system:masters"}}
	for name, signer := range map[string]string{"one": "example.com/one", "two": "example.com/two", "other": "example.org/one", "client": certificatesv1.KubeAPIServerClientSignerName} {
		if _, err := c.CertificatesV1().CertificateSigningRequests().Create(t.Context(), ask(name, signer, pkix.Name{CommonName: "me"}), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	approve := func(name string) func(context.Context, kubernetes.Interface) error {
		return func(ctx context.Context, c kubernetes.Interface) error {
			csr, err := c.CertificatesV1().CertificateSigningRequests().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			_, err = c.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, name, approved(csr), metav1.UpdateOptions{})
			return err
		}
	}
	sign := func(name string) func(context.Context, kubernetes.Interface) error {
		return func(ctx context.Context, kube kubernetes.Interface) error {
			csr, err := kube.CertificatesV1().CertificateSigningRequests().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			csr.Status.Certificate = c.server.identities.Admin.CertPEM
			_, err = kube.CertificatesV1().CertificateSigningRequests().UpdateStatus(ctx, csr, metav1.UpdateOptions{})
			return err
		}
	}
	forbidden := func(name string) string {
		return `certificatesigningrequests.certificates.k8s.io "` + name + `" is forbidden: `
	}
	approver := authenticated("approver")
	c.attempt(t, []attempt{
		{"an administrator's certificate", approver, rest, func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CertificatesV1().CertificateSigningRequests().Create(ctx, ask("masters", certificatesv1.KubeAPIServerClientSignerName, masters), metav1.CreateOptions{})
			return err
		}, forbidden("masters") + `use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed`},
		{"an administrator's certificate, for an administrator", authenticated("root", "system:masters"), rest, func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CertificatesV1().CertificateSigningRequests().Create(ctx, ask("masters", certificatesv1.KubeAPIServerClientSignerName, masters), metav1.CreateOptions{})
			return err
		}, forbidden("masters") + `use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed`},
		{"approve for one's signer", approver, rest, approve("one"), ""},
		{"approve for another signer", approver, rest, approve("two"), forbidden("two") + `user not permitted to approve requests with signerName "example.com/two"`},
		{"approve for the API server's", approver, rest, approve("client"), forbidden("client") + `user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"`},
		{"sign for one's signers", approver, rest, sign("one"), ""},
		{"sign for another signer", approver, rest, sign("other"), forbidden("other") + `user not permitted to sign requests with signerName "example.org/one"`},
		{"sign for the API server's", approver, rest, sign("client"), forbidden("client") + `user not permitted to sign requests with signerName "kubernetes.io/kube-apiserver-client"`},
	})
}

// A node that was taken over has what its own pods have, and nothing of others.
func TestEscalationByNodes(t *testing.T) {
	c := newCluster(t)
	storeAccess(t, c)
	node, other := authenticated("system:node:used", "system:nodes"), authenticated("system:node:other", "system:nodes")
	ctx := t.Context()
	used, err := c.CoreV1().Pods("default").Get(ctx, "used", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The other node runs a pod with the same ServiceAccount, and so may ask for tokens of it.
	shared, err := c.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "shared"}, Spec: corev1.PodSpec{
		NodeName: "other", ServiceAccountName: "used", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := func(ref *authenticationv1.BoundObjectReference, audiences ...string) func(context.Context, kubernetes.Interface) error {
		return func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().ServiceAccounts("default").CreateToken(ctx, "used", &authenticationv1.TokenRequest{
				Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref, Audiences: audiences}}, metav1.CreateOptions{})
			return err
		}
	}
	pod := func(p *corev1.Pod) *authenticationv1.BoundObjectReference {
		return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID}
	}
	secret := func(name string) func(context.Context, kubernetes.Interface) error {
		return func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Secrets("default").Get(ctx, name, metav1.GetOptions{})
			return err
		}
	}
	self, err := c.CoreV1().Nodes().Get(ctx, "used", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	mirror := func(change func(*corev1.Pod)) func(context.Context, kubernetes.Interface) error {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "mirror", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "hash"},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "used", UID: self.UID, Controller: &yes}}},
			Spec: corev1.PodSpec{NodeName: "used", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		}
		if change != nil {
			change(p)
		}
		return func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{DryRun: []string{"All"}})
			return err
		}
	}
	refers := func(source corev1.VolumeSource) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: source}} }
	}
	statusOf := func(name, text string) func(context.Context, kubernetes.Interface) error {
		return func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Pods("default").Patch(ctx, name, types.MergePatchType, []byte(text), metav1.PatchOptions{}, "status")
			return err
		}
	}
	patchNode := func(name, text string) func(context.Context, kubernetes.Interface) error {
		return func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, []byte(text), metav1.PatchOptions{DryRun: []string{"All"}})
			return err
		}
	}
	remove := func(name string) func(context.Context, kubernetes.Interface) error {
		return func(ctx context.Context, c kubernetes.Interface) error {
			return c.CoreV1().Pods("default").Delete(ctx, name, metav1.DeleteOptions{DryRun: []string{"All"}})
		}
	}
	const none = ` in the namespace "default": Node: no relationship found between node 'other' and this object`
	const mirrorForbidden = `pods "mirror" is forbidden: `
	rest := rest.ImpersonationConfig{}
	c.attempt(t, []attempt{
		{"a Secret of its pod", node, rest, secret("used"), ""},
		{"a Secret of another node's pod", other, rest, secret("used"), `secrets "used" is forbidden: User "system:node:other" cannot get resource "secrets" in API group ""` + none},
		{"all Secrets", node, rest, func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{})
			return err
		}, `secrets is forbidden: User "system:node:used" cannot list resource "secrets" in API group "" in the namespace "default": Node: No Object name found`},
		{"a ConfigMap of another node's pod", other, rest, func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().ConfigMaps("default").Get(ctx, "used", metav1.GetOptions{})
			return err
		}, `configmaps "used" is forbidden: User "system:node:other" cannot get resource "configmaps" in API group ""` + none},
		{"a claim of another node's pod", other, rest, func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().PersistentVolumeClaims("default").Get(ctx, "used", metav1.GetOptions{})
			return err
		}, `persistentvolumeclaims "used" is forbidden: User "system:node:other" cannot get resource "persistentvolumeclaims" in API group ""` + none},

		{"a token for its pod", other, rest, token(pod(shared)), ""},
		{"a token for another node's pod", other, rest, token(pod(used)), `serviceaccounts "used" is forbidden: node requested token bound to a pod scheduled on a different node`},
		{"a token for no pod", other, rest, token(nil), `serviceaccounts "used" is forbidden: node requested token not bound to a pod`},
		{"a token for itself", other, rest, token(&authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: "other"}),
			`serviceaccounts "used" is forbidden: node requested token not bound to a pod`},
		{"a token for an audience that no pod names", other, rest, token(pod(shared), "vault"),
			`serviceaccounts "used" is forbidden: audience "vault" not found in pod spec volume, system:node:other is not authorized to request tokens for this audience`},
		{"a token of a controller", other, rest, func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().ServiceAccounts("kube-system").CreateToken(ctx, "namespace-controller", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			return err
		}, `serviceaccounts "namespace-controller" is forbidden: User "system:node:other" cannot create resource "serviceaccounts/token" in API group "" in the namespace "kube-system": Node: no relationship`},

		{"a mirror pod", node, rest, mirror(nil), ""},
		{"a pod", node, rest, mirror(func(p *corev1.Pod) { p.Annotations = nil }), mirrorForbidden + `pod does not have "kubernetes.io/config.mirror" annotation, node "used" can only create mirror pods`},
		{"a mirror pod elsewhere", node, rest, mirror(func(p *corev1.Pod) { p.Spec.NodeName = "other" }), mirrorForbidden + `node "used" can only create pods with spec.nodeName set to itself`},
		{"a mirror pod of another", other, rest, mirror(nil), mirrorForbidden + `node "other" can only create pods with spec.nodeName set to itself`},
		{"a mirror pod without owner", node, rest, mirror(func(p *corev1.Pod) { p.OwnerReferences = nil }), mirrorForbidden + `node "used" can only create pods with an owner reference set to itself`},
		{"a mirror pod with a Secret", node, rest, mirror(refers(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "another"}})), mirrorForbidden},
		{"a mirror pod with a ServiceAccount", node, rest, mirror(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "used" }), mirrorForbidden},
		{"a user's mirror pod with a Secret", authenticated("owner"), rest, mirror(refers(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "another"}})),
			mirrorForbidden + `a mirror pod may not reference secrets`},
		{"a user's mirror pod with a ServiceAccount", authenticated("owner"), rest, mirror(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "used" }),
			mirrorForbidden + `a mirror pod may not reference service accounts`},
		{"a user's mirror pod with a token", authenticated("owner"), rest, mirror(refers(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t"}}}}})), mirrorForbidden + `a mirror pod may not use ServiceAccountToken volume projections`},

		{"its pod's status", node, rest, statusOf("used", `{"status":{"message":"m"}}`), ""},
		{"another node's pod's status", other, rest, statusOf("used", `{"status":{"message":"m"}}`), `pods "used" is forbidden: node "other" can only update pod status for pods with spec.nodeName set to itself`},
		{"its pod's labels", node, rest, statusOf("used", `{"metadata":{"labels":{"a":"b"}}}`), `pods "used" is forbidden: node "used" cannot update labels through pod status`},
		{"delete its pod", node, rest, remove("used"), ""},
		{"delete another node's pod", other, rest, remove("used"), `pods "used" is forbidden: node "other" can only delete pods with spec.nodeName set to itself`},
		{"a debugger in its pod", node, rest, func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Pods("default").UpdateEphemeralContainers(ctx, "used", used, metav1.UpdateOptions{})
			return err
		}, `pods "used" is forbidden: User "system:node:used" cannot update resource "pods/ephemeralcontainers" in API group "" in the namespace "default"`},

		{"another node", node, rest, patchNode("other", `{"metadata":{"labels":{"a":"b"}}}`), `nodes "other" not found`},
		{"its own labels", node, rest, patchNode("used", `{"metadata":{"labels":{"a":"b"}}}`), ""},
		{"a label that draws pods", node, rest, patchNode("used", `{"metadata":{"labels":{"node-restriction.kubernetes.io/a":"b"}}}`), `nodes "used" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/a`},
		{"a label of its role", node, rest, patchNode("used", `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`), `nodes "used" is forbidden: is not allowed to modify labels: node-role.kubernetes.io/control-plane`},
		{"its taints", node, rest, patchNode("used", `{"spec":{"taints":[{"key":"a","effect":"NoExecute"}]}}`), `nodes "used" is forbidden: node "used" is not allowed to modify taints`},
		{"all pods", node, rest, func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
			return err
		}, `pods is forbidden: User "system:node:used" cannot list resource "pods" in API group "" at the cluster scope: Node: can only list/watch pods with spec.nodeName field selector`},
		{"all pods of another node", node, rest, func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=other"})
			return err
		}, `pods is forbidden: User "system:node:used" cannot list resource "pods"`},
		{"another node's certificate", node, rest, func(ctx context.Context, c kubernetes.Interface) error {
			csr, _ := request(t, "steal", certificatesv1.KubeAPIServerClientKubeletSignerName, nodeSubject("other"), certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature)
			_, err := c.CertificatesV1().CertificateSigningRequests().Create(ctx, csr, metav1.CreateOptions{})
			return err
		}, `certificatesigningrequests.certificates.k8s.io "steal" is forbidden: can only create a node CSR with CN=system:node:used`},
		{"bind a pod", node, rest, func(ctx context.Context, c kubernetes.Interface) error {
			return c.CoreV1().Pods("default").Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "used"}, Target: corev1.ObjectReference{Name: "used"}}, metav1.CreateOptions{})
		}, `pods "used" is forbidden: User "system:node:used" cannot create resource "pods/binding"`},
	})
}

// Who may read a stream's resource must not run programs by it: a WebSocket is opened by GET.
func TestEscalationByStreams(t *testing.T) {
	c := newCluster(t)
	storeAccess(t, c)
	c.grant(t, "reader", rule("get", "", "pods/exec,pods/attach,pods/portforward,nodes/proxy"))
	transport := c.server.loopback.JSONConfig(authenticated("reader")).Transport
	for _, tt := range []struct{ method, path, want string }{
		{http.MethodGet, "/api/v1/namespaces/default/pods/used/exec?command=id", `pods \"used\" is forbidden`},
		{http.MethodGet, "/api/v1/namespaces/default/pods/used/attach", `pods \"used\" is forbidden`},
		{http.MethodGet, "/api/v1/namespaces/default/pods/used/portforward", `pods \"used\" is forbidden`},
		{http.MethodPost, "/api/v1/namespaces/default/pods/used/exec?command=id", `User \"reader\" cannot create resource \"pods/exec\"`},
		{http.MethodPost, "/api/v1/nodes/used/proxy/exec/default/used/c?command=id", `User \"reader\" cannot create resource \"nodes/proxy\"`},
		{http.MethodPost, "/api/v1/nodes/used/proxy/run/default/used/c", `User \"reader\" cannot create resource \"nodes/proxy\"`},
	} {
		request, err := http.NewRequestWithContext(t.Context(), tt.method, "http://loopback"+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusForbidden || !strings.Contains(string(body), tt.want) {
			t.Errorf("%s %s: %d %s, %v; want %s", tt.method, tt.path, response.StatusCode, body, err, tt.want)
		}
	}
}

// Pods of a ServiceAccount that asks for it have no Secrets but those that it names.
func TestMountableSecrets(t *testing.T) {
	c := newCluster(t)
	storeAccess(t, c)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "strict", Annotations: map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}},
		Secrets: []corev1.ObjectReference{{Name: "own"}}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}}
	if _, err := c.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ref := func(name string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: "k"}}
	}
	pod := func(change func(*corev1.PodSpec)) func(context.Context, kubernetes.Interface) error {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{ServiceAccountName: "strict", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
		change(&p.Spec)
		return func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{DryRun: []string{"All"}})
			return err
		}
	}
	owner, none := authenticated("owner"), rest.ImpersonationConfig{}
	const no = ` is not allowed because service account strict does not reference that `
	c.attempt(t, []attempt{
		{"its own", owner, none, pod(func(s *corev1.PodSpec) {
			s.Containers[0].Env = []corev1.EnvVar{{Name: "E", ValueFrom: ref("own")}}
			s.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
		}), ""},
		{"none", owner, none, pod(func(*corev1.PodSpec) {}), ""},
		{"a variable", owner, none, pod(func(s *corev1.PodSpec) { s.Containers[0].Env = []corev1.EnvVar{{Name: "E", ValueFrom: ref("used")}} }),
			`pods "p" is forbidden: container c with envVar E referencing secret.secretName="used"` + no + `secret`},
		{"all variables", owner, none, pod(func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Name: "i", Image: "i", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "used"}}}}}}
		}), `pods "p" is forbidden: init container i with envFrom referencing secret.secretName="used"` + no + `secret`},
		{"a volume", owner, none, pod(func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "used"}}}}
		}), `pods "p" is forbidden: volume with secret.secretName="used"` + no + `secret`},
		{"a pull secret", owner, none, pod(func(s *corev1.PodSpec) { s.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "own"}} }),
			`pods "p" is forbidden: imagePullSecrets[0].name="own"` + no + `imagePullSecret`},
		{"an account that is not there", owner, none, pod(func(s *corev1.PodSpec) { s.ServiceAccountName = "none" }),
			`pods "p" is forbidden: error looking up service account default/none: serviceaccount "none" not found`},
	})
	// No scheduler writes that it cannot be placed, so that what is read here stays the latest.
	running := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "running"}, Spec: corev1.PodSpec{ServiceAccountName: "strict", SchedulerName: "none", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	running, err := c.CoreV1().Pods("default").Create(t.Context(), running, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	debug := func(secret string) func(context.Context, kubernetes.Interface) error {
		p := running.DeepCopy()
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "d", Image: "i", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
			Env: []corev1.EnvVar{{Name: "E", ValueFrom: ref(secret)}}}}}
		return func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Pods("default").UpdateEphemeralContainers(ctx, "running", p, metav1.UpdateOptions{DryRun: []string{"All"}})
			return err
		}
	}
	c.attempt(t, []attempt{
		{"a debugger with its own", authenticated("root"), none, debug("own"), ""},
		{"a debugger with another", authenticated("root"), none, debug("used"), `ephemeral container d with envVar E referencing secret.secretName="used"` + no + `secret`},
	})
}
