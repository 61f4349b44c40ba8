// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
)

var proxyMethods = []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}

// proxyREST serves /proxy of pods, services and nodes: requests go on to what the object stands for.
type proxyREST struct {
	newOptions func() runtime.Object
	// locate returns where id (name, name:port or scheme:name:port) is and how to reach it.
	locate func(ctx context.Context, id string) (*url.URL, http.RoundTripper, error)
}

func newPodProxyOptions() runtime.Object     { return &corev1.PodProxyOptions{} }
func newServiceProxyOptions() runtime.Object { return &corev1.ServiceProxyOptions{} }
func newNodeProxyOptions() runtime.Object    { return &corev1.NodeProxyOptions{} }

func (r *proxyREST) New() runtime.Object      { return r.newOptions() }
func (r *proxyREST) Destroy()                 {}
func (r *proxyREST) ConnectMethods() []string { return proxyMethods }
func (r *proxyREST) NewConnectOptions() (runtime.Object, bool, string) {
	return r.newOptions(), true, "path"
}

func (r *proxyREST) Connect(ctx context.Context, id string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	var suffix string
	switch o := options.(type) {
	case *corev1.PodProxyOptions:
		suffix = o.Path
	case *corev1.ServiceProxyOptions:
		suffix = o.Path
	case *corev1.NodeProxyOptions:
		suffix = o.Path
	}
	location, transport, err := r.locate(ctx, id)
	if err != nil {
		return nil, err
	}
	// The handler sends a GET that has no path behind /proxy to /proxy/, so that relative links in what is served hold.
	location.Path = utilnet.JoinPreservingTrailingSlash(location.Path, suffix)
	return proxy.NewUpgradeAwareHandler(location, transport, true, false, proxy.NewErrorResponder(responder)), nil
}

// locate is where a node's agent listens.
func (k *Kubelets) locate(ctx context.Context, id string) (*url.URL, http.RoundTripper, error) {
	_, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, nil, errors.NewBadRequest(fmt.Sprintf("invalid node request %q", id))
	}
	at, err := k.url(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if port != "" && port != at.Port() {
		// Another port than the agent's is some other service of the machine: this server's credentials are not for it.
		return &url.URL{Scheme: "http", Host: net.JoinHostPort(at.Hostname(), port)}, nil, nil
	}
	return at, k.Transport, nil
}

// podLocator finds pods' addresses.
type podLocator struct {
	pods      *Store
	transport http.RoundTripper
}

func (p podLocator) locate(ctx context.Context, id string) (*url.URL, http.RoundTripper, error) {
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, nil, errors.NewBadRequest(fmt.Sprintf("invalid pod request %q", id))
	}
	obj, err := p.pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	pod := obj.(*corev1.Pod)
	if port == "" {
		port = firstPort(pod)
	}
	if ip := net.ParseIP(pod.Status.PodIP); ip == nil || ip.IsLoopback() || ip.IsUnspecified() {
		return nil, nil, errors.NewBadRequest("address not allowed")
	}
	host := pod.Status.PodIP
	if port != "" {
		host = net.JoinHostPort(host, port)
	}
	return target(scheme, host), insecureTransport(), nil
}

func firstPort(pod *corev1.Pod) string {
	for _, c := range pod.Spec.Containers {
		if len(c.Ports) > 0 {
			return strconv.Itoa(int(c.Ports[0].ContainerPort))
		}
	}
	return ""
}

// locateService picks one ready endpoint of a service's port.
func (r *Registry) locateService(ctx context.Context, id string) (*url.URL, http.RoundTripper, error) {
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, nil, errors.NewBadRequest(fmt.Sprintf("invalid service request %q", id))
	}
	obj, err := r.Store("", "services").Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	svc := obj.(*corev1.Service)
	if n, err := strconv.ParseInt(port, 10, 32); err == nil {
		found := false
		for _, p := range svc.Spec.Ports {
			if int64(p.Port) == n {
				port, found = p.Name, true
				break
			}
		}
		if !found {
			return nil, nil, errors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", n, name))
		}
	}
	obj, err = r.Store("", "endpoints").Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	hosts := endpointHosts(obj.(*corev1.Endpoints), port)
	if len(hosts) == 0 {
		return nil, nil, errors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", id))
	}
	return target(scheme, hosts[rand.IntN(len(hosts))]), insecureTransport(), nil
}

func endpointHosts(endpoints *corev1.Endpoints, port string) []string {
	var hosts []string
	for _, subset := range endpoints.Subsets {
		for _, p := range subset.Ports {
			if p.Name != port {
				continue
			}
			for _, a := range subset.Addresses {
				hosts = append(hosts, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	return hosts
}

func target(scheme, host string) *url.URL {
	if scheme == "" {
		scheme = "http"
	}
	return &url.URL{Scheme: scheme, Host: host}
}

// insecureTransport reaches pods, whose certificates, where they have any, are their own business: the API server is a
// convenience here, not a guarantee of who answers.
func insecureTransport() http.RoundTripper {
	return &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
}

var _ rest.Connecter = (*proxyREST)(nil)
