// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	seeds "github.com/hivemind-project/hivemind/config"
	"github.com/hivemind-project/hivemind/controllers/bootstrapsigner"
	"github.com/hivemind-project/hivemind/controllers/servicecidr"
)

// attemptFirst is how long a start waits for what a cluster has and a webhook holds up.
const attemptFirst = 5 * time.Second

// bootstrap makes what every cluster has. In a cluster that is not new, webhooks, policies and quotas of users can keep the server from that. They must
// not keep it from starting, since only there can they be mended; so what is missing is tried again beside the start.
func (s *Server) bootstrap(ctx context.Context) error {
	client, err := s.client(user.APIServerUser, user.SystemPrivilegedGroup)
	if err != nil {
		return err
	}
	if _, err := s.informers.Core().V1().Namespaces().Lister().Get(metav1.NamespaceSystem); apierrors.IsNotFound(err) {
		if err := s.ensure(ctx, client); err != nil {
			return err
		}
		return s.keep(client)
	}
	first, cancel := context.WithTimeout(ctx, attemptFirst)
	defer cancel()
	switch err := s.ensure(first, client); {
	case err == nil:
	case ctx.Err() != nil || !mayPass(err):
		return err
	default:
		klog.ErrorS(err, "The cluster lacks something that every cluster has; trying again until it is there")
		s.work.work(s.life, "bootstrap", func(ctx context.Context) error {
			s.untilDone(ctx, func(ctx context.Context) error { return s.ensure(ctx, client) })
			return nil
		})
	}
	return s.keep(client)
}

// mayPass tells whether an attempt failed for what another one need not: the API has refused something, or taken too long.
func mayPass(err error) bool {
	var refused apierrors.APIStatus
	return errors.As(err, &refused) || errors.Is(err, context.DeadlineExceeded)
}

// ensure writes what is missing or differs: the system's namespaces, roles and classes, the range of service addresses, and what is published. Each is
// tried whatever becomes of the others.
func (s *Server) ensure(ctx context.Context, client kubernetes.Interface) error {
	seeded := seeds.Ensure(ctx, client)
	if seeded == nil {
		seeded = s.rolesKnown(ctx)
	}
	ranged := servicecidr.EnsureDefault(ctx, client, s.services.String())
	return errors.Join(seeded, ranged, s.publish(ctx, client), s.publishClusterInfo(ctx, client))
}

// publish says where the API server and DNS are, and whose word about users aggregated servers take.
func (s *Server) publish(ctx context.Context, client kubernetes.Interface) error {
	return errors.Join(s.publishAPIServer(ctx, client), s.publishDNS(ctx, client), s.publishAuthentication(ctx, client))
}

// rolesKnown waits until the authorizer has seen the roles of controllers and nodes, which takes a millisecond: without them,
// each would be refused its first requests, complain, and try again later.
func (s *Server) rolesKnown(ctx context.Context) error {
	objects, err := seeds.Objects()
	if err != nil {
		return err
	}
	roles := s.informers.Rbac().V1()
	known := func(object runtime.Object) bool {
		var err error
		switch o := object.(type) {
		case *rbacv1.ClusterRole:
			_, err = roles.ClusterRoles().Lister().Get(o.Name)
		case *rbacv1.ClusterRoleBinding:
			_, err = roles.ClusterRoleBindings().Lister().Get(o.Name)
		case *rbacv1.Role:
			_, err = roles.Roles().Lister().Roles(o.Namespace).Get(o.Name)
		case *rbacv1.RoleBinding:
			_, err = roles.RoleBindings().Lister().RoleBindings(o.Namespace).Get(o.Name)
		}
		return err == nil
	}
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for _, object := range objects {
		for !known(object) {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return fmt.Errorf("wait for the authorizer to see the system's roles: %w", context.Cause(ctx))
			}
		}
	}
	return nil
}

// The services that every cluster has: by one, whose endpoints are called the same, pods reach the API server, by the other DNS.
const (
	kubernetesService = "kubernetes"
	dnsService        = "kube-dns"
)

// publishAPIServer makes the service kubernetes, by which pods reach the API server, and says where that is.
func (s *Server) publishAPIServer(ctx context.Context, client kubernetes.Interface) error {
	labels := map[string]string{"component": "apiserver", "provider": "kubernetes"}
	port := int32(s.config.API.Port)
	err := ensureService(ctx, client, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: kubernetesService, Namespace: metav1.NamespaceDefault, Labels: labels},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: s.services.Addr().Next().String(), SessionAffinity: corev1.ServiceAffinityNone,
			Ports: []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: targetPort(port)}},
		},
	})
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(s.config.Node.IP); err == nil && ip.IsLoopback() {
		return nil // no pod could reach the server there, and the API refuses endpoints that are nobody's
	}
	endpoints := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Name: kubernetesService, Namespace: metav1.NamespaceDefault, Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}},
		Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: s.config.Node.IP}},
			Ports:     []corev1.EndpointPort{{Name: "https", Port: port, Protocol: corev1.ProtocolTCP}},
		}},
	}
	if err := ensureEndpoints(ctx, client, endpoints); err != nil {
		return err
	}
	name, protocol, ready := "https", corev1.ProtocolTCP, true
	return ensureSlice(ctx, client, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: kubernetesService, Namespace: metav1.NamespaceDefault, Labels: map[string]string{discoveryv1.LabelServiceName: kubernetesService}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{s.config.Node.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	})
}

// publishDNS makes the service kube-dns. It has no endpoints: every node answers its address by itself.
func (s *Server) publishDNS(ctx context.Context, client kubernetes.Interface) error {
	return ensureService(ctx, client, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: dnsService, Namespace: metav1.NamespaceSystem,
			Labels: map[string]string{"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: s.config.Network.ClusterDNS, SessionAffinity: corev1.ServiceAffinityNone,
			Ports: []corev1.ServicePort{
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: targetPort(53)},
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: targetPort(53)},
			},
		},
	})
}

// publishClusterInfo tells machines that are about to join where the API server is and how it is known. The controller
// bootstrapsigner signs it with their tokens.
func (s *Server) publishClusterInfo(ctx context.Context, client kubernetes.Interface) error {
	kubeconfig, err := s.identities.ClusterInfo("https://" + s.externalAddress())
	if err != nil {
		return err
	}
	want := map[string]string{bootstrapsigner.KeyKubeconfig: string(kubeconfig)}
	if err := ensureData(ctx, client, bootstrapsigner.Namespace, bootstrapsigner.Name, want); err != nil {
		return fmt.Errorf("publish what is known of the cluster: %w", err)
	}
	return nil
}
