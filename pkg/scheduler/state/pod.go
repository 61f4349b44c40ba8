// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
)

// Pod is a pod with what the scheduler asks of it again and again worked out once.
type Pod struct {
	*v1.Pod
	Requests Resources // what is kept free for it
	Scored   Resources // the same with defaults for containers that request nothing
	Ports    []v1.ContainerPort
	Owner    types.UID // of the controller that owns it

	Affinity              []Term // required
	AntiAffinity          []Term // required
	PreferredAffinity     []Term
	PreferredAntiAffinity []Term
}

// Term is a pod affinity term made ready for matching.
type Term struct {
	TopologyKey string
	Weight      int64 // of a preferred term
	namespaces  sets.Set[string]
	nsSelector  labels.Selector
	selector    labels.Selector
}

// NewPod works pod out. The error is that of a selector which cannot be parsed.
func NewPod(pod *v1.Pod) (*Pod, error) {
	p := &Pod{Pod: pod}
	p.Requests, p.Scored = podRequests(pod)
	p.Ports = hostPorts(pod)
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		p.Owner = owner.UID
	}
	if pod.Spec.Affinity == nil {
		return p, nil
	}
	var err error
	if a := pod.Spec.Affinity.PodAffinity; a != nil {
		if p.Affinity, err = newTerms(pod, a.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return nil, err
		}
		if p.PreferredAffinity, err = newWeightedTerms(pod, a.PreferredDuringSchedulingIgnoredDuringExecution); err != nil {
			return nil, err
		}
	}
	if a := pod.Spec.Affinity.PodAntiAffinity; a != nil {
		if p.AntiAffinity, err = newTerms(pod, a.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return nil, err
		}
		if p.PreferredAntiAffinity, err = newWeightedTerms(pod, a.PreferredDuringSchedulingIgnoredDuringExecution); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Priority is the pod's priority, 0 where none is set.
func (p *Pod) Priority() int32 { return corev1helpers.PodPriority(p.Pod) }

// HasAffinity reports whether the pod says anything about the company it keeps.
func (p *Pod) HasAffinity() bool {
	return len(p.Affinity)+len(p.AntiAffinity)+len(p.PreferredAffinity)+len(p.PreferredAntiAffinity) > 0
}

// Matches reports whether the term speaks of pod, whose namespace has the labels given.
func (t *Term) Matches(pod *v1.Pod, namespaceLabels labels.Set) bool {
	if !t.namespaces.Has(pod.Namespace) && !t.nsSelector.Matches(namespaceLabels) {
		return false
	}
	return t.selector.Matches(labels.Set(pod.Labels))
}

func newTerms(pod *v1.Pod, terms []v1.PodAffinityTerm) ([]Term, error) {
	out := make([]Term, 0, len(terms))
	for i := range terms {
		t, err := newTerm(pod, &terms[i])
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func newWeightedTerms(pod *v1.Pod, terms []v1.WeightedPodAffinityTerm) ([]Term, error) {
	out := make([]Term, 0, len(terms))
	for i := range terms {
		t, err := newTerm(pod, &terms[i].PodAffinityTerm)
		if err != nil {
			return nil, err
		}
		t.Weight = int64(terms[i].Weight)
		out = append(out, t)
	}
	return out, nil
}

func newTerm(pod *v1.Pod, term *v1.PodAffinityTerm) (Term, error) {
	selector, err := SelectorWithLabelKeys(term.LabelSelector, pod.Labels, term.MatchLabelKeys, term.MismatchLabelKeys)
	if err != nil {
		return Term{}, fmt.Errorf("read pod affinity of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	nsSelector, err := metav1.LabelSelectorAsSelector(term.NamespaceSelector)
	if err != nil {
		return Term{}, fmt.Errorf("read namespace selector of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	namespaces := sets.New(term.Namespaces...)
	if len(term.Namespaces) == 0 && term.NamespaceSelector == nil {
		namespaces.Insert(pod.Namespace)
	}
	return Term{TopologyKey: term.TopologyKey, namespaces: namespaces, nsSelector: nsSelector, selector: selector}, nil
}

// SelectorWithLabelKeys narrows a label selector to the values that podLabels has for the keys of match, and away from
// those for the keys of mismatch (KEP-3243, KEP-3633). Keys that the pod does not have count for nothing. The API server
// may have written the same requirements into the selector already: twice changes nothing.
func SelectorWithLabelKeys(selector *metav1.LabelSelector, podLabels map[string]string, match, mismatch []string) (labels.Selector, error) {
	if len(match)+len(mismatch) > 0 && selector != nil {
		selector = selector.DeepCopy()
		add := func(keys []string, op metav1.LabelSelectorOperator) {
			for _, key := range keys {
				if value, ok := podLabels[key]; ok {
					selector.MatchExpressions = append(selector.MatchExpressions,
						metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
				}
			}
		}
		add(match, metav1.LabelSelectorOpIn)
		add(mismatch, metav1.LabelSelectorOpNotIn)
	}
	return metav1.LabelSelectorAsSelector(selector)
}

// hostPorts lists the ports of the node that a pod's containers and sidecars take.
func hostPorts(pod *v1.Pod) []v1.ContainerPort {
	var ports []v1.ContainerPort
	add := func(c *v1.Container) {
		for _, port := range c.Ports {
			if port.HostPort > 0 {
				ports = append(ports, port)
			}
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return ports
}
