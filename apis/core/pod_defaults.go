// SPDX-License-Identifier: Apache-2.0

// Package core says what an object of the core group is: for every kind its defaults (SetDefaults<Kind>), what a
// create, an update and a status update may contain (Validate<Kind>, Validate<Kind>Update, Validate<Kind>StatusUpdate)
// and what the server itself fills in or takes out of a write (Prepare<Kind>ForCreate, Prepare<Kind>ForUpdate). All are
// pure functions over the types of k8s.io/api; their cost is linear in the size of the object.
//
// The rules, paths and texts are kube-apiserver's. What Kubernetes tolerates only because older releases had stored it
// is not tolerated here: there are no older releases.
//
// This file holds the defaults of Pod and of what pods are made of. Legacy aliases of a field are brought in line here
// too, because defaults run on every decoded object.
package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
	"k8s.io/utils/ptr"
)

// SetDefaultsPod fills in what a Pod leaves open. Requests follow limits, as the scheduler counts requests alone.
func SetDefaultsPod(pod *corev1.Pod) {
	for i := range pod.Spec.Containers {
		requestLimits(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		requestLimits(&pod.Spec.InitContainers[i])
	}
	defaultPodLimits(pod)
	defaultPodRequests(pod)
	if pod.Spec.EnableServiceLinks == nil {
		pod.Spec.EnableServiceLinks = ptr.To(corev1.DefaultEnableServiceLinks)
	}
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace != nil && *grace < 0 {
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
	}
	if pod.Spec.HostNetwork {
		hostPorts(pod.Spec.Containers)
		hostPorts(pod.Spec.InitContainers)
	}
	SetDefaultsPodSpec(&pod.Spec)
	if pod.Spec.Resources != nil {
		roundUp(pod.Spec.Resources.Limits)
		roundUp(pod.Spec.Resources.Requests)
	}
	roundUp(pod.Spec.Overhead)
	for _, statuses := range [][]corev1.ContainerStatus{
		pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for i := range statuses {
			roundUp(statuses[i].AllocatedResources)
			if r := statuses[i].Resources; r != nil {
				roundUp(r.Limits)
				roundUp(r.Requests)
			}
		}
	}
	alignPodIPs(&pod.Status)
}

// SetDefaultsPodTemplate fills in what a PodTemplate leaves open.
func SetDefaultsPodTemplate(template *corev1.PodTemplate) {
	SetDefaultsPodTemplateSpec(&template.Template)
}

// SetDefaultsPodTemplateSpec fills in what the pod template of any workload leaves open. Requests are not derived from
// limits here: that happens to the pods made from it.
func SetDefaultsPodTemplateSpec(template *corev1.PodTemplateSpec) {
	SetDefaultsPodSpec(&template.Spec)
	roundUp(template.Spec.Overhead)
	if template.Spec.Resources != nil {
		roundUp(template.Spec.Resources.Limits)
		roundUp(template.Spec.Resources.Requests)
	}
}

// SetDefaultsPodSpec fills in what pods and pod templates default alike.
func SetDefaultsPodSpec(spec *corev1.PodSpec) {
	setIfEmpty(&spec.DNSPolicy, corev1.DNSClusterFirst)
	setIfEmpty(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	setIfEmpty(&spec.SchedulerName, corev1.DefaultSchedulerName)
	setIfNil(&spec.SecurityContext, corev1.PodSecurityContext{})
	setIfNil(&spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	// serviceAccount is the older name of serviceAccountName; readers may look at either.
	setIfEmpty(&spec.ServiceAccountName, spec.DeprecatedServiceAccount)
	spec.DeprecatedServiceAccount = spec.ServiceAccountName

	for i := range spec.Volumes {
		setDefaultsVolume(&spec.Volumes[i])
	}
	for i := range spec.InitContainers {
		setDefaultsContainer(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		setDefaultsContainer(&spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		setDefaultsContainer((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

func setDefaultsContainer(c *corev1.Container) {
	setIfEmpty(&c.ImagePullPolicy, defaultPullPolicy(c.Image))
	setIfEmpty(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	setIfEmpty(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		setIfEmpty(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			setDefaultsFieldRef(from.FieldRef)
			if from.FileKeyRef != nil {
				setIfNil(&from.FileKeyRef.Optional, false)
			}
		}
	}
	roundUp(c.Resources.Limits)
	roundUp(c.Resources.Requests)
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		setDefaultsProbe(probe)
	}
	if c.Lifecycle != nil {
		for _, handler := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if handler != nil {
				setDefaultsHTTPGet(handler.HTTPGet)
			}
		}
	}
}

// defaultPullPolicy returns Always for an image by the tag latest, stated or implied, and IfNotPresent otherwise. A
// digest without a tag cannot move, so it need not be pulled again; a reference that cannot be parsed has no tag.
func defaultPullPolicy(image string) corev1.PullPolicy {
	name, digest, hasDigest := strings.Cut(image, "@")
	last := name[strings.LastIndex(name, "/")+1:]
	_, tag, hasTag := strings.Cut(last, ":")
	switch {
	case !validImageReference(name, tag, hasTag, digest, hasDigest):
		return corev1.PullIfNotPresent
	case hasTag && tag == "latest", !hasTag && !hasDigest:
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// validImageReference tells whether the reference could name an image at all: a path of components in lower case that
// begin and end with a letter or digit (a registry's host may have capitals), a tag and a digest that are not empty.
func validImageReference(name, tag string, hasTag bool, digest string, hasDigest bool) bool {
	path := name
	if hasTag {
		path = strings.TrimSuffix(name, ":"+tag)
	}
	if host, rest, ok := strings.Cut(path, "/"); ok && !strings.HasPrefix(host, ".") &&
		(strings.ContainsAny(host, ".:") || host == "localhost" || strings.ToLower(host) != host) {
		path = rest
	}
	const alphanumeric, longest = "abcdefghijklmnopqrstuvwxyz0123456789", 255
	if len(path) > longest {
		return false
	}
	for _, component := range strings.Split(path, "/") {
		if component == "" || strings.Trim(component, alphanumeric+"._-") != "" || strings.ContainsAny(component[:1]+component[len(component)-1:], "._-") {
			return false
		}
	}
	return !(hasTag && tag == "") && !(hasDigest && !strings.Contains(digest, ":"))
}

func setDefaultsProbe(probe *corev1.Probe) {
	if probe == nil {
		return
	}
	setIfEmpty(&probe.TimeoutSeconds, 1)
	setIfEmpty(&probe.PeriodSeconds, 10)
	setIfEmpty(&probe.SuccessThreshold, 1)
	setIfEmpty(&probe.FailureThreshold, 3)
	setDefaultsHTTPGet(probe.HTTPGet)
	if probe.GRPC != nil {
		setIfNil(&probe.GRPC.Service, "")
	}
}

func setDefaultsHTTPGet(get *corev1.HTTPGetAction) {
	if get == nil {
		return
	}
	setIfEmpty(&get.Path, "/")
	setIfEmpty(&get.Scheme, corev1.URISchemeHTTP)
}

func setDefaultsFieldRef(ref *corev1.ObjectFieldSelector) {
	if ref != nil {
		setIfEmpty(&ref.APIVersion, "v1")
	}
}

func requestLimits(c *corev1.Container) {
	for name, limit := range c.Resources.Limits {
		if c.Resources.Requests == nil {
			c.Resources.Requests = corev1.ResourceList{}
		}
		if _, ok := c.Resources.Requests[name]; !ok {
			c.Resources.Requests[name] = limit.DeepCopy()
		}
	}
}

// defaultPodLimits gives a pod with resources of its own the huge pages that its containers are limited to, unless it
// asks for some itself: huge pages cannot be overcommitted, so limit and request are one number.
func defaultPodLimits(pod *corev1.Pod) {
	own := pod.Spec.Resources
	if own == nil || len(own.Limits) == 0 && len(own.Requests) == 0 {
		return
	}
	for name, limit := range resource.AggregateContainerLimits(pod, resource.PodResourcesOptions{}) {
		if !resource.IsSupportedPodLevelResource(name) || !isHugePage(name) {
			continue
		}
		if _, requested := own.Requests[name]; requested {
			continue
		}
		if _, limited := own.Limits[name]; !limited {
			if own.Limits == nil {
				own.Limits = corev1.ResourceList{}
			}
			own.Limits[name] = limit.DeepCopy()
		}
	}
}

// defaultPodRequests gives a pod with limits of its own the requests that it leaves open: the sum of its containers'
// requests, and where they ask for nothing, its own limit.
func defaultPodRequests(pod *corev1.Pod) {
	own := pod.Spec.Resources
	if own == nil || len(own.Limits) == 0 {
		return
	}
	if own.Requests == nil {
		own.Requests = corev1.ResourceList{}
	}
	for name, sum := range resource.AggregateContainerRequests(pod, resource.PodResourcesOptions{}) {
		if _, ok := own.Requests[name]; !ok && resource.IsSupportedPodLevelResource(name) && overcommitAllowed(name) {
			own.Requests[name] = sum.DeepCopy()
		}
	}
	for name, limit := range own.Limits {
		if _, ok := own.Requests[name]; !ok && resource.IsSupportedPodLevelResource(name) {
			own.Requests[name] = limit.DeepCopy()
		}
	}
	if len(own.Requests) == 0 {
		own.Requests = nil
	}
}

// hostPorts makes every port of a pod in the host's network a host port: it is one.
func hostPorts(containers []corev1.Container) {
	for i := range containers {
		for j := range containers[i].Ports {
			port := &containers[i].Ports[j]
			setIfEmpty(&port.HostPort, port.ContainerPort)
		}
	}
}

// alignPodIPs makes podIP and podIPs[0] the same address; podIP wins, as writers that know only it would expect.
func alignPodIPs(status *corev1.PodStatus) {
	if status.PodIP != "" && (len(status.PodIPs) == 0 || status.PodIPs[0].IP != status.PodIP) {
		status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	}
	if len(status.PodIPs) > 0 {
		status.PodIP = status.PodIPs[0].IP
	}
}

// roundUp rounds quantities up to thousandths, the finest that the API keeps.
func roundUp(list corev1.ResourceList) {
	const milli = -3
	for name, quantity := range list {
		quantity.RoundUp(milli)
		list[name] = quantity
	}
}

func setIfEmpty[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func setIfNil[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
