// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

var update = flag.Bool("update", false, "write testdata/access.txt and the table of docs/api.md anew")

// accessVerbs are the verbs of resources and their letters in the table. Other verbs stand in it by their names.
var accessVerbs = []struct{ verb, letter string }{
	{"get", "g"}, {"list", "l"}, {"watch", "w"}, {"create", "c"}, {"update", "u"}, {"patch", "p"}, {"delete", "d"}, {"deletecollection", "D"},
}

// person is a column of the table.
type person struct {
	name string
	who  *user.DefaultInfo
	role string // bound in the namespace default, or in the cluster if it is cluster-admin
}

func authenticated(name string, groups ...string) *user.DefaultInfo {
	return &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
}

func people() []person {
	return []person{
		{name: "anonymous", who: &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}},
		{name: "nobody", who: authenticated("nobody")},
		{name: "account", who: authenticated("system:serviceaccount:default:used", "system:serviceaccounts", "system:serviceaccounts:default")},
		{name: "other-node", who: authenticated("system:node:other", "system:nodes")},
		{name: "node", who: authenticated("system:node:used", "system:nodes")},
		{name: "view", who: authenticated("viewer"), role: "view"},
		{name: "edit", who: authenticated("editor"), role: "edit"},
		{name: "admin", who: authenticated("owner"), role: "admin"},
		{name: "cluster-admin", who: authenticated("root"), role: "cluster-admin"},
	}
}

// question is a row of the table: what may be done to a resource, of which one object is meant where a verb is about one.
type question struct {
	resource        schema.GroupVersionResource
	subresource     string
	verbs           []string
	namespace, name string
	selector        string // of fields, for list and watch
	note            string // what is special about this row
	path            string // a path that is no resource's, in place of all of these
}

// label is the row's name.
func (q question) label() string {
	if q.path != "" {
		return q.path
	}
	s := q.resource.Resource
	if q.subresource != "" {
		s += "/" + q.subresource
	}
	if q.note != "" {
		s += " (" + q.note + ")"
	}
	return s
}

// section is what rows are gathered under.
func (q question) section() string {
	switch {
	case q.path != "":
		return "paths"
	case q.note != "":
		return "special"
	}
	return q.resource.GroupVersion().String()
}

// named tells whether a request of that verb names an object.
func (q question) named(verb string) bool {
	return verb != "list" && verb != "watch" && verb != "deletecollection" && (verb != "create" || q.subresource != "")
}

// stored has the objects that the table is about: all are called used, and those that a pod of the node used refers to are related to
// that node. It binds people to their roles.
func storeAccess(t *testing.T, c *cluster) {
	t.Helper()
	ctx, name := t.Context(), metav1.ObjectMeta{Name: "used"}
	core := c.CoreV1()
	_, errNode := core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: name}, metav1.CreateOptions{})
	_, errAccount := core.ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: name}, metav1.CreateOptions{})
	_, errSecret := core.Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: name}, metav1.CreateOptions{})
	_, errMap := core.ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: name}, metav1.CreateOptions{})
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	_, errClaim := core.PersistentVolumeClaims("default").Create(ctx, &corev1.PersistentVolumeClaim{ObjectMeta: name, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: modes, VolumeName: "used", StorageClassName: ptr.To(""), Resources: corev1.VolumeResourceRequirements{Requests: size}}}, metav1.CreateOptions{})
	_, errVolume := core.PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: name, Spec: corev1.PersistentVolumeSpec{AccessModes: modes, Capacity: size,
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/none"}},
		ClaimRef:               &corev1.ObjectReference{Namespace: "default", Name: "used"}}}, metav1.CreateOptions{})
	volume := func(name string, source corev1.VolumeSource) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: source}
	}
	_, errPod := core.Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: name, Spec: corev1.PodSpec{
		NodeName: "used", ServiceAccountName: "used", Containers: []corev1.Container{{Name: "c", Image: "i"}},
		Volumes: []corev1.Volume{
			volume("secret", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "used"}}),
			volume("map", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "used"}}}),
			volume("claim", corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "used"}}),
		}}}, metav1.CreateOptions{})
	for _, err := range []error{errNode, errAccount, errSecret, errMap, errClaim, errVolume, errPod} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range people() {
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: p.role}
		subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: p.who.Name}}
		meta := metav1.ObjectMeta{Name: "test-" + p.role}
		var err error
		switch p.role {
		case "":
		case "cluster-admin":
			_, err = c.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}, metav1.CreateOptions{})
		default:
			_, err = c.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}, metav1.CreateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.role == "" {
			continue
		}
		// admin gathers edit, which gathers view, so the last role to count is admin's own.
		resource := map[string]string{"view": "pods", "edit": "secrets", "admin": "roles", "cluster-admin": "nodes"}[p.role]
		group := map[string]string{"admin": rbacv1.GroupName}[p.role]
		eventually(t, p.role+" to count", func() (bool, error) {
			return c.allowed(t, p.who, &authorizationv1.ResourceAttributes{Namespace: "default", Verb: "get", Group: group, Resource: resource}, ""), nil
		})
	}
	nodes := people()[4]
	eventually(t, "the node's pod to count", func() (bool, error) {
		return c.allowed(t, nodes.who, &authorizationv1.ResourceAttributes{Namespace: "default", Verb: "get", Resource: "persistentvolumes", Name: "used"}, ""), nil
	})
}

// reviewer is an administrator's client in the server's process: reviews are many.
func (c *cluster) reviewer(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, err := c.server.client("reviewer", user.SystemPrivilegedGroup)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// allowed asks the authorizer, by a SubjectAccessReview.
func (c *cluster) allowed(t *testing.T, who user.Info, attributes *authorizationv1.ResourceAttributes, path string) bool {
	t.Helper()
	spec := authorizationv1.SubjectAccessReviewSpec{User: who.GetName(), Groups: who.GetGroups(), ResourceAttributes: attributes}
	if path != "" {
		spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"}
	}
	review, err := c.reviewer(t).AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// reviewed asks the authorizer about a row.
func (c *cluster) reviewed(t *testing.T, who user.Info, q question, verb string) bool {
	t.Helper()
	if q.path != "" {
		return c.allowed(t, who, nil, q.path)
	}
	a := &authorizationv1.ResourceAttributes{Verb: verb, Namespace: q.namespace, Group: q.resource.Group, Version: q.resource.Version, Resource: q.resource.Resource, Subresource: q.subresource}
	if q.named(verb) {
		a.Name = q.name
		if q.resource.Resource == "namespaces" && q.resource.Group == "" {
			a.Namespace = q.name // a namespace is in itself
		}
	}
	if q.selector != "" {
		a.FieldSelector = &authorizationv1.FieldSelectorAttributes{RawSelector: q.selector}
		a.Name, _ = strings.CutPrefix(q.selector, "metadata.name=") // which is as good as the name in the path
		if a.Name == q.selector {
			a.Name = ""
		}
	}
	return c.allowed(t, who, a, "")
}

// tried sends the request itself, which changes nothing, and tells whether it came past the authorizer.
func (c *cluster) tried(t *testing.T, p person, q question, verb string) bool {
	t.Helper()
	transport, host := c.server.loopback.JSONConfig(p.who).Transport, "http://loopback"
	if p.name == "anonymous" {
		var err error
		if transport, err = rest.TransportFor(rest.AnonymousClientConfig(c.config)); err != nil {
			t.Fatal(err)
		}
		host = c.config.Host
	}
	request := q.request(t, host, verb)
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatalf("%s %s: %v", request.Method, request.URL, err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusUnauthorized:
		if p.name != "anonymous" {
			t.Fatalf("%s %s as %s: not authenticated", request.Method, request.URL, p.name)
		}
		return false
	case http.StatusForbidden:
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		// Admission refuses by the same code, in other words.
		return !bytes.Contains(body, fmt.Appendf(nil, "User \\\"%s\\\" cannot %s ", p.who.Name, verb))
	}
	return true
}

func (q question) request(t *testing.T, host, verb string) *http.Request {
	t.Helper()
	method := map[string]string{"create": http.MethodPost, "update": http.MethodPut, "patch": http.MethodPatch, "delete": http.MethodDelete, "deletecollection": http.MethodDelete}[verb]
	path, parameters := q.path, url.Values{}
	var body io.Reader
	if path == "" {
		path = "/apis/" + q.resource.Group + "/" + q.resource.Version
		if q.resource.Group == "" {
			path = "/api/" + q.resource.Version
		}
		if q.namespace != "" {
			path += "/namespaces/" + q.namespace
		}
		path += "/" + q.resource.Resource
		if q.named(verb) {
			path += "/" + q.name
		}
		if q.subresource != "" {
			path += "/" + q.subresource
		}
		if method != "" {
			parameters.Set("dryRun", "All")
		}
		if method != "" && method != http.MethodDelete { // a delete's body would hold its options in place of the parameters
			body = strings.NewReader("{}")
		}
		if verb == "watch" {
			parameters.Set("watch", "1")
		}
		if q.selector != "" {
			parameters.Set("fieldSelector", q.selector)
		}
	}
	if method == "" {
		method = http.MethodGet
	}
	request, err := http.NewRequestWithContext(t.Context(), method, host+path+"?"+parameters.Encode(), body)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case method == http.MethodPatch:
		request.Header.Set("Content-Type", "application/merge-patch+json")
	case body != nil:
		request.Header.Set("Content-Type", "application/json")
	}
	return request
}

// questions are all rows of the table: all that is served, and then what is not about a whole resource.
func (c *cluster) questions(t *testing.T) []question {
	t.Helper()
	_, groups, err := c.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(groups, func(a, b *metav1.APIResourceList) int {
		return strings.Compare(order(a.GroupVersion), order(b.GroupVersion))
	})
	var all []question
	for _, group := range groups {
		gv, err := schema.ParseGroupVersion(group.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(group.APIResources, func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) })
		for _, r := range group.APIResources {
			q := question{verbs: r.Verbs, name: "used"}
			var name string
			name, q.subresource, _ = strings.Cut(r.Name, "/")
			q.resource = gv.WithResource(name)
			if r.Namespaced {
				q.namespace = "default"
			}
			if name == "namespaces" {
				q.name = "default"
			}
			all = append(all, q)
		}
	}
	return append(all, specialQuestions()...)
}

// standard are the verbs of a whole resource.
func standard() []string {
	verbs := make([]string, 0, len(accessVerbs))
	for _, v := range accessVerbs {
		verbs = append(verbs, v.verb)
	}
	return verbs
}

// specialQuestions are about objects that a node has nothing to do with or that are its own, about verbs that no request has, and about
// paths.
func specialQuestions() []question {
	core := func(resource string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Version: "v1", Resource: resource}
	}
	in := func(group, resource string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}
	}
	all := []question{
		{resource: core("pods"), verbs: []string{"list", "watch", "deletecollection"}, namespace: "default", selector: "spec.nodeName=used", note: "of the node"},
		{resource: core("pods"), verbs: []string{"list", "watch"}, selector: "spec.nodeName=used", note: "of the node, in all namespaces"},
		{resource: core("pods"), verbs: []string{"list", "watch", "create"}, note: "in all namespaces"},
		{resource: core("secrets"), verbs: standard(), namespace: "default", name: "another", note: "one that no pod of the node uses"},
		{resource: core("secrets"), verbs: []string{"list", "watch"}, namespace: "default", selector: "metadata.name=used", note: "one alone"},
		{resource: core("secrets"), verbs: standard(), namespace: "kube-system", name: "used", note: "in kube-system"},
		{resource: core("secrets"), verbs: []string{"list", "watch"}, note: "in all namespaces"},
		{resource: core("configmaps"), verbs: standard(), namespace: "default", name: "another", note: "one that no pod of the node uses"},
		{resource: core("configmaps"), verbs: standard(), namespace: "kube-system", name: "extension-apiserver-authentication", note: "of authorities"},
		{resource: core("serviceaccounts"), subresource: "token", verbs: []string{"create"}, namespace: "default", name: "another", note: "one that no pod of the node uses"},
		{resource: core("serviceaccounts"), subresource: "token", verbs: []string{"create"}, namespace: "kube-system", name: "namespace-controller", note: "a controller's"},
		{resource: core("nodes"), verbs: standard(), name: "another", note: "another"},
		{resource: core("nodes"), subresource: "status", verbs: []string{"get", "update", "patch"}, name: "another", note: "another"},
		{resource: core("nodes"), subresource: "proxy", verbs: []string{"get", "create"}, name: "another", note: "another"},
		{resource: core("namespaces"), verbs: []string{"get", "delete", "update", "patch"}, name: "kube-system", note: "kube-system"},
		{resource: in("coordination.k8s.io", "leases"), verbs: standard(), namespace: "kube-node-lease", name: "used", note: "the node's own"},
		{resource: in("coordination.k8s.io", "leases"), verbs: standard(), namespace: "kube-node-lease", name: "another", note: "another node's"},
		{resource: in(rbacv1.GroupName, "roles"), verbs: []string{"bind", "escalate"}, namespace: "default", name: "used", note: "verbs"},
		{resource: in(rbacv1.GroupName, "clusterroles"), verbs: []string{"bind", "escalate"}, name: "used", note: "verbs"},
		{resource: in("certificates.k8s.io", "signers"), verbs: []string{"approve", "sign"}, name: "kubernetes.io/kube-apiserver-client", note: "verbs"},
		{resource: core("users"), verbs: []string{"impersonate"}, name: "root", note: "verbs"},
		{resource: core("groups"), verbs: []string{"impersonate"}, name: "system:masters", note: "verbs"},
		{resource: core("serviceaccounts"), verbs: []string{"impersonate"}, namespace: "default", name: "used", note: "verbs"},
		{resource: core("serviceaccounts"), verbs: []string{"impersonate"}, namespace: "kube-system", name: "used", note: "verbs, in kube-system"},
		{resource: in("authentication.k8s.io", "userextras"), subresource: "scopes", verbs: []string{"impersonate"}, name: "all", note: "verbs"},
		{resource: in("authentication.k8s.io", "uids"), verbs: []string{"impersonate"}, name: "0", note: "verbs"},
	}
	for _, path := range []string{"/", "/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/apis/apps/v1", "/debug/pprof/", "/healthz", "/healthz/etcd", "/livez", "/livez/ping", "/logs/",
		"/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/readyz/etcd", "/version"} {
		all = append(all, question{path: path, verbs: []string{"get"}})
	}
	return all
}

// cell is what of verbs is allowed.
func cell(verbs []string, allowed map[string]bool) string {
	var b strings.Builder
	var others []string
	for _, v := range accessVerbs {
		if slices.Contains(verbs, v.verb) && allowed[v.verb] {
			b.WriteString(v.letter)
		}
	}
	for _, verb := range verbs {
		if !slices.ContainsFunc(accessVerbs, func(v struct{ verb, letter string }) bool { return v.verb == verb }) && allowed[verb] {
			others = append(others, verb)
		}
	}
	if b.Len() > 0 {
		others = append([]string{b.String()}, others...)
	}
	if len(others) == 0 {
		return "-"
	}
	return strings.Join(others, ",")
}

const accessHead = `# Who may do what in a new cluster, by Hivemind's default roles. The test TestAccess holds it against the authorizer, by
# SubjectAccessReviews, and sends the requests. After a change that is meant, write it anew and read what differs:
#
#	go test ./pkg/server -run TestAccess -update
#
# g get, l list, w watch, c create, u update, p patch, d delete, D deletecollection; other verbs by their names; - none. The column
# served has those there are. All objects are called used. The node of that name runs a pod in the namespace default that has
# a ServiceAccount, a Secret, a ConfigMap and a PersistentVolumeClaim; other-node runs nothing. view, edit and admin are bound in default.
`

// TestAccess holds the table of who may do what.
func TestAccess(t *testing.T) {
	c := newCluster(t)
	storeAccess(t, c)
	var text strings.Builder
	text.WriteString(accessHead)
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	section := ""
	for _, q := range c.questions(t) {
		if s := q.section(); s != section {
			section = s
			fmt.Fprintf(table, "\n%s\tserved", section)
			for _, p := range people() {
				fmt.Fprintf(table, "\t%s", p.name)
			}
			fmt.Fprintln(table)
		}
		all := map[string]bool{}
		for _, verb := range q.verbs {
			all[verb] = true
		}
		fmt.Fprintf(table, "%s\t%s", q.label(), cell(q.verbs, all))
		may := map[string]map[string]bool{}
		for _, p := range people() {
			may[p.name] = map[string]bool{}
			for _, verb := range q.verbs {
				allowed := c.reviewed(t, p.who, q, verb)
				may[p.name][verb] = allowed
				if slices.Contains(standard(), verb) && c.tried(t, p, q, verb) != allowed {
					t.Errorf("%s %s as %s: a review says %v, and the request is answered otherwise", verb, q.label(), p.name, allowed)
				}
			}
			fmt.Fprintf(table, "\t%s", cell(q.verbs, may[p.name]))
		}
		fmt.Fprintln(table)
		checkAccess(t, c, q, may)
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "access.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text.String(), "\n")); diff != "" {
		t.Errorf("who may do what has changed; if that is meant, write the table anew with -update (-table +now):\n%s", diff)
	}
}

// checkAccess holds what must be so whatever the table says.
func checkAccess(t *testing.T, c *cluster, q question, may map[string]map[string]bool) {
	t.Helper()
	within := func(less, more string) {
		t.Helper()
		for verb := range maps.Keys(may[less]) {
			if may[less][verb] && !may[more][verb] {
				t.Errorf("%s %s: %s may, and %s may not", verb, q.label(), less, more)
			}
		}
	}
	within("anonymous", "nobody")
	within("nobody", "account")
	within("nobody", "view")
	within("view", "edit")
	within("edit", "admin")
	within("admin", "cluster-admin")
	within("node", "cluster-admin")
	if q.note == "" { // what is another node's is that one's
		within("other-node", "node")
	}
	if q.namespace != "default" {
		return
	}
	// A role that is bound in one namespace is nothing in another.
	q.namespace = "kube-system"
	for _, p := range people() {
		if p.role == "" || p.role == "cluster-admin" {
			continue
		}
		for _, verb := range q.verbs {
			if c.reviewed(t, p.who, q, verb) != may["nobody"][verb] {
				t.Errorf("%s %s in another namespace: %s is not as nobody", verb, q.label(), p.name)
			}
		}
	}
}
