// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Kubelets reaches the HTTP API of the node agents, to which a pod's log, exec, attach and port-forward are passed on.
// Transport authenticates this server to them.
type Kubelets struct {
	Transport http.RoundTripper
	nodes     rest.Getter
}

// defaultKubeletPort is used for a node that does not say otherwise.
const defaultKubeletPort = 10250

// url returns where the agent of node listens, for the preferred of its addresses: InternalIP, then Hostname.
func (k *Kubelets) url(ctx context.Context, nodeName string) (*url.URL, error) {
	obj, err := k.nodes.Get(ctx, nodeName, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	node := obj.(*corev1.Node)
	port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port == 0 {
		port = defaultKubeletPort
	}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, a := range node.Status.Addresses {
			if a.Type == kind {
				return &url.URL{Scheme: "https", Host: net.JoinHostPort(a.Address, strconv.Itoa(port))}, nil
			}
		}
	}
	return nil, fmt.Errorf("no preferred addresses found; known addresses: %v", node.Status.Addresses)
}

// forPod returns the pod and the address of the agent that runs it.
func (k *Kubelets) forPod(ctx context.Context, pods rest.Getter, name string) (*corev1.Pod, *url.URL, error) {
	obj, err := pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	pod := obj.(*corev1.Pod)
	if pod.Spec.NodeName == "" {
		return pod, nil, errors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	at, err := k.url(ctx, pod.Spec.NodeName)
	return pod, at, err
}
