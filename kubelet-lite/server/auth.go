// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// How long answers of the API server are remembered, and how many; the kubelet's defaults.
const (
	tokenTTL   = 2 * time.Minute
	allowedTTL = 5 * time.Minute
	deniedTTL  = 30 * time.Second
	cacheSize  = 1024

	// masters are not asked about: RBAC's bootstrap group may do everything, also while the API server is away.
	masters = "system:masters"
)

// gate lets requests through whose user may do what they ask for.
type gate struct {
	node   string
	client kubernetes.Interface
	tokens *cache.LRUExpireCache // sha256 of a token → *user
	grants *cache.LRUExpireCache // question → bool
}

type user struct {
	name, uid string
	groups    []string
	extra     map[string]authz.ExtraValue
}

func newGate(node string, client kubernetes.Interface) *gate {
	return &gate{node: node, client: client, tokens: cache.NewLRUExpireCache(cacheSize), grants: cache.NewLRUExpireCache(cacheSize)}
}

func (g *gate) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && fromLoopback(r) {
			// What watches over the process on this machine has no identity in the cluster.
			next.ServeHTTP(w, r)
			return
		}
		u, err := g.authenticate(r)
		if err != nil {
			klog.FromContext(r.Context()).Error(err, "Unable to authenticate the request due to an error")
		}
		if u == nil || err != nil {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		verb, subresources := attributes(r)
		for _, sub := range subresources {
			ok, err := g.allowed(r.Context(), u, verb, sub)
			if err != nil {
				klog.FromContext(r.Context()).Error(err, "Authorization error", "user", u.name, "verb", verb, "resource", "nodes", "subresource", sub)
				http.Error(w, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%s)", u.name, verb, sub), http.StatusInternalServerError)
				return
			}
			if ok {
				next.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", u.name, verb, subresources), http.StatusForbidden)
	})
}

// authenticate returns nobody where the request names nobody, or one whose word is not good.
func (g *gate) authenticate(r *http.Request) (*user, error) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		leaf := r.TLS.VerifiedChains[0][0]
		if slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
			return &user{name: leaf.Subject.CommonName, groups: append(slices.Clone(leaf.Subject.Organization), "system:authenticated")}, nil
		}
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return nil, nil
	}
	key := sha256.Sum256([]byte(token))
	if u, ok := g.tokens.Get(key); ok {
		return u.(*user), nil
	}
	review, err := g.client.AuthenticationV1().TokenReviews().Create(r.Context(), &authn.TokenReview{Spec: authn.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	if !review.Status.Authenticated {
		return nil, nil
	}
	u := &user{name: review.Status.User.Username, uid: review.Status.User.UID, groups: review.Status.User.Groups, extra: map[string]authz.ExtraValue{}}
	for k, v := range review.Status.User.Extra {
		u.extra[k] = authz.ExtraValue(v)
	}
	g.tokens.Add(key, u, tokenTTL)
	return u, nil
}

func (g *gate) allowed(ctx context.Context, u *user, verb, subresource string) (bool, error) {
	if slices.Contains(u.groups, masters) {
		return true, nil
	}
	key := strings.Join(append([]string{u.name, verb, subresource}, u.groups...), "\x00")
	if ok, found := g.grants.Get(key); found {
		return ok.(bool), nil
	}
	review, err := g.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authz.SubjectAccessReview{Spec: authz.SubjectAccessReviewSpec{
		User: u.name, UID: u.uid, Groups: u.groups, Extra: u.extra,
		ResourceAttributes: &authz.ResourceAttributes{Verb: verb, Version: "v1", Resource: "nodes", Subresource: subresource, Name: g.node},
	}}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	ttl := deniedTTL
	if review.Status.Allowed {
		ttl = allowedTTL
	}
	g.grants.Add(key, review.Status.Allowed, ttl)
	return review.Status.Allowed, nil
}

// attributes say what right on the node the request needs: any of the subresources.
// https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/
func attributes(r *http.Request) (verb string, subresources []string) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		verb = "get"
	case http.MethodPost:
		verb = "create"
	case http.MethodPut:
		verb = "update"
	case http.MethodPatch:
		verb = "patch"
	case http.MethodDelete:
		verb = "delete"
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch first {
	case "stats":
		return verb, []string{"stats"}
	case "metrics":
		return verb, []string{"metrics"}
	case "logs":
		return verb, []string{"log"}
	case "pods", "runningpods":
		return verb, []string{"pods", "proxy"}
	case "healthz", "configz":
		return verb, []string{first, "proxy"}
	}
	return verb, []string{"proxy"}
}

func fromLoopback(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return err == nil && net.ParseIP(host).IsLoopback()
}
