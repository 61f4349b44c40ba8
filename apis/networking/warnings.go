// SPDX-License-Identifier: Apache-2.0

// This file holds what is said about objects that are valid but not what their authors will want.

package networking

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// WarningsIngress returns what is to be said about a new ingress.
func WarningsIngress(i, before *networkingv1.Ingress) []string {
	const class = "kubernetes.io/ingress.class"
	if _, ok := i.Annotations[class]; before != nil || !ok || i.Spec.IngressClassName != nil {
		return nil
	}
	return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", class)}
}

// WarningsIngressStatus returns what is to be said about an ingress's status.
func WarningsIngressStatus(i, _ *networkingv1.Ingress) []string {
	var w check.Warnings
	for n, ingress := range i.Status.LoadBalancer.Ingress {
		w.IP(field.NewPath("status", "loadBalancer", "ingress").Index(n), ingress.IP)
	}
	return w.Texts()
}

// WarningsNetworkPolicy returns what is to be said about a network policy.
func WarningsNetworkPolicy(policy, _ *networkingv1.NetworkPolicy) []string {
	var w check.Warnings
	peers := func(p *field.Path, peers []networkingv1.NetworkPolicyPeer) {
		for i := range peers {
			block := peers[i].IPBlock
			if block == nil {
				continue
			}
			p := p.Index(i).Child("ipBlock")
			w.CIDR(p.Child("cidr"), block.CIDR)
			for j, except := range block.Except {
				w.CIDR(p.Child("except").Index(j), except)
			}
		}
	}
	for i := range policy.Spec.Ingress {
		peers(field.NewPath("spec", "ingress").Index(i).Child("from"), policy.Spec.Ingress[i].From)
	}
	for i := range policy.Spec.Egress {
		peers(field.NewPath("spec", "egress").Index(i).Child("to"), policy.Spec.Egress[i].To)
	}
	return w.Texts()
}
