// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// PodTopologyLabels gives pods their node's labels of zone and region, when they are bound or created with a node, so that what runs in
// a pod can know them through the downward API (KEP-4742).
type PodTopologyLabels struct {
	*admission.Handler
	nodes corelisters.NodeLister
}

// NewPodTopologyLabels returns the plugin.
func NewPodTopologyLabels(nodes corelisters.NodeLister) *PodTopologyLabels {
	return &PodTopologyLabels{admission.NewHandler(admission.Create), nodes}
}

// Admit implements admission.MutationInterface. Labels of a Binding are given to its pod.
func (p *PodTopologyLabels) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != corev1.Resource("pods") {
		return nil
	}
	switch a.GetSubresource() {
	case "":
		pod, ok := a.GetObject().(*corev1.Pod)
		if !ok {
			return fmt.Errorf("expected Pod but got %T", a.GetObject())
		}
		return p.label(&pod.Labels, pod.Spec.NodeName)
	case "binding":
		binding, ok := a.GetObject().(*corev1.Binding)
		if !ok {
			return fmt.Errorf("expected Binding but got %s", a.GetKind().Kind)
		}
		if binding.Target.Kind == "Node" {
			return p.label(&binding.Labels, binding.Target.Name)
		}
	}
	return nil
}

// label adds those of a node, if it is there, to labels.
func (p *PodTopologyLabels) label(labels *map[string]string, nodeName string) error {
	if nodeName == "" {
		return nil
	}
	node, err := p.nodes.Get(nodeName)
	if err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	for _, key := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion} {
		if value, ok := node.Labels[key]; ok {
			if *labels == nil {
				*labels = map[string]string{}
			}
			(*labels)[key] = value
		}
	}
	return nil
}

var _ admission.MutationInterface = (*PodTopologyLabels)(nil)
