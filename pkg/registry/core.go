// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hivemind-project/hivemind/apis/core"
)

// eventTTL is how long events are kept, in seconds; kube-apiserver's default.
const eventTTL = 3600

// coreRows are the kinds of the core group.
func coreRows() []*Resource {
	v1 := corev1.SchemeGroupVersion
	return []*Resource{
		Kind[corev1.Namespace]{
			ReturnDeleted: true,
			Resource:      "namespaces", Singular: "namespace", ShortNames: []string{"ns"}, Cluster: true,
			List:   func() runtime.Object { return &corev1.NamespaceList{} },
			Status: true, SetDefaults: core.SetDefaultsNamespace,
			PrepareForCreate: core.PrepareNamespaceForCreate, PrepareForUpdate: core.PrepareNamespaceForUpdate,
			Validate: core.ValidateNamespace, ValidateUpdate: core.ValidateNamespaceUpdate, ValidateStatusUpdate: core.ValidateNamespaceStatusUpdate,
			Fields: func(n *corev1.Namespace) fields.Set {
				return fields.Set{"status.phase": string(n.Status.Phase)}
			},
			Held: func(n *corev1.Namespace) bool { return len(n.Spec.Finalizers) > 0 },
		}.in(v1, "Namespace"),
		Kind[corev1.Node]{
			Resource: "nodes", Singular: "node", ShortNames: []string{"no"}, Cluster: true,
			List:   func() runtime.Object { return &corev1.NodeList{} },
			Status: true, StatusOnCreate: true, SetDefaults: core.SetDefaultsNode,
			PrepareForCreate: core.PrepareNodeForCreate, PrepareForUpdate: core.PrepareNodeForUpdate,
			Validate: core.ValidateNode, ValidateUpdate: core.ValidateNodeUpdate, ValidateStatusUpdate: core.ValidateNodeStatusUpdate,
			Fields: func(n *corev1.Node) fields.Set {
				return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
			},
			Warnings: core.WarningsNode,
		}.in(v1, "Node"),
		Kind[corev1.Pod]{
			ReturnDeleted: true, StatusResets: []string{"metadata.ownerReferences", "metadata.deletionTimestamp"},
			Resource: "pods", Singular: "pod", ShortNames: []string{"po"}, Categories: []string{"all"},
			List:   func() runtime.Object { return &corev1.PodList{} },
			Status: true, StatusOnCreate: true, // of which PreparePodForCreate keeps the class
			Generation: true, SetDefaults: core.SetDefaultsPod,
			PrepareForCreate: core.PreparePodForCreate, PrepareForUpdate: core.PreparePodForUpdate,
			PrepareForStatusUpdate: core.PreparePodForStatusUpdate,
			Validate:               core.ValidatePod, ValidateUpdate: core.ValidatePodUpdate, ValidateStatusUpdate: core.ValidatePodStatusUpdate,
			Fields: podFields, GracePeriod: podGracePeriod,
			Warnings: core.WarningsPod, StatusWarnings: core.WarningsPodStatus,
		}.in(v1, "Pod"),
		Kind[corev1.Service]{
			ReturnDeleted: true,
			Resource:      "services", Singular: "service", ShortNames: []string{"svc"}, Categories: []string{"all"},
			List:   func() runtime.Object { return &corev1.ServiceList{} },
			Status: true, CreateOnUpdate: true, SetDefaults: core.SetDefaultsService,
			PrepareForUpdate: core.PrepareServiceForUpdate,
			Validate:         core.ValidateService, ValidateUpdate: core.ValidateServiceUpdate, ValidateStatusUpdate: core.ValidateServiceStatusUpdate,
			Fields: func(s *corev1.Service) fields.Set {
				return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
			},
			Warnings: core.WarningsService, StatusWarnings: core.WarningsServiceStatus,
		}.in(v1, "Service"),
		Kind[corev1.Endpoints]{
			Resource: "endpoints", Singular: "endpoints", ShortNames: []string{"ep"}, CreateOnUpdate: true,
			List:        func() runtime.Object { return &corev1.EndpointsList{} },
			SetDefaults: core.SetDefaultsEndpoints, Validate: core.ValidateEndpoints, ValidateUpdate: core.ValidateEndpointsUpdate,
			Warnings: core.WarningsEndpoints,
		}.in(v1, "Endpoints"),
		Kind[corev1.ConfigMap]{
			Resource: "configmaps", Singular: "configmap", ShortNames: []string{"cm"},
			List:     func() runtime.Object { return &corev1.ConfigMapList{} },
			Validate: core.ValidateConfigMap, ValidateUpdate: core.ValidateConfigMapUpdate,
		}.in(v1, "ConfigMap"),
		Kind[corev1.Secret]{
			Resource: "secrets", Singular: "secret",
			List:        func() runtime.Object { return &corev1.SecretList{} },
			SetDefaults: core.SetDefaultsSecret, PrepareForUpdate: core.PrepareSecretForUpdate,
			Validate: core.ValidateSecret, ValidateUpdate: core.ValidateSecretUpdate,
			Fields:   func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} },
			Warnings: core.WarningsSecret,
		}.in(v1, "Secret"),
		Kind[corev1.ServiceAccount]{
			ReturnDeleted: true,
			Resource:      "serviceaccounts", Singular: "serviceaccount", ShortNames: []string{"sa"},
			List:             func() runtime.Object { return &corev1.ServiceAccountList{} },
			PrepareForCreate: core.PrepareServiceAccountForCreate, PrepareForUpdate: core.PrepareServiceAccountForUpdate,
			Validate: core.ValidateServiceAccount, ValidateUpdate: core.ValidateServiceAccountUpdate,
			Warnings: core.WarningsServiceAccount,
		}.in(v1, "ServiceAccount"),
		Kind[corev1.PersistentVolume]{
			ReturnDeleted: true,
			Resource:      "persistentvolumes", Singular: "persistentvolume", ShortNames: []string{"pv"}, Cluster: true,
			List:   func() runtime.Object { return &corev1.PersistentVolumeList{} },
			Status: true, SetDefaults: core.SetDefaultsPersistentVolume, PrepareForCreate: core.PreparePersistentVolumeForCreate,
			PrepareForStatusUpdate: core.PreparePersistentVolumeForStatusUpdate,
			Validate:               core.ValidatePersistentVolume, ValidateUpdate: core.ValidatePersistentVolumeUpdate, ValidateStatusUpdate: core.ValidatePersistentVolumeStatusUpdate,
			Warnings: core.WarningsPersistentVolume,
		}.in(v1, "PersistentVolume"),
		Kind[corev1.PersistentVolumeClaim]{
			ReturnDeleted: true,
			Resource:      "persistentvolumeclaims", Singular: "persistentvolumeclaim", ShortNames: []string{"pvc"},
			List:   func() runtime.Object { return &corev1.PersistentVolumeClaimList{} },
			Status: true, SetDefaults: core.SetDefaultsPersistentVolumeClaim, PrepareForCreate: core.PreparePersistentVolumeClaimForCreate,
			PrepareForUpdate: core.PreparePersistentVolumeClaimForUpdate,
			Validate:         core.ValidatePersistentVolumeClaim, ValidateUpdate: core.ValidatePersistentVolumeClaimUpdate,
			ValidateStatusUpdate: core.ValidatePersistentVolumeClaimStatusUpdate,
			Warnings:             core.WarningsPersistentVolumeClaim,
		}.in(v1, "PersistentVolumeClaim"),
		Kind[corev1.Event]{
			Resource: "events", Singular: "event", ShortNames: []string{"ev"}, CreateOnUpdate: true, TTL: eventTTL, NoGC: true,
			List:     func() runtime.Object { return &corev1.EventList{} },
			Validate: core.ValidateEvent, ValidateUpdate: core.ValidateEventUpdate, Fields: eventFields,
		}.in(v1, "Event"),
		Kind[corev1.LimitRange]{
			Resource: "limitranges", Singular: "limitrange", ShortNames: []string{"limits"}, CreateOnUpdate: true,
			List:        func() runtime.Object { return &corev1.LimitRangeList{} },
			SetDefaults: core.SetDefaultsLimitRange, PrepareForCreate: core.PrepareLimitRangeForCreate, Validate: core.ValidateLimitRange, ValidateUpdate: core.ValidateLimitRangeUpdate,
		}.in(v1, "LimitRange"),
		Kind[corev1.ResourceQuota]{
			ReturnDeleted: true,
			Resource:      "resourcequotas", Singular: "resourcequota", ShortNames: []string{"quota"},
			List:   func() runtime.Object { return &corev1.ResourceQuotaList{} },
			Status: true, SetDefaults: core.SetDefaultsResourceQuota,
			Validate: core.ValidateResourceQuota, ValidateUpdate: core.ValidateResourceQuotaUpdate, ValidateStatusUpdate: core.ValidateResourceQuotaStatusUpdate,
			Warnings: core.WarningsResourceQuota,
		}.in(v1, "ResourceQuota"),
		Kind[corev1.PodTemplate]{
			ReturnDeleted: true,
			Resource:      "podtemplates", Singular: "podtemplate", Generation: true,
			List:        func() runtime.Object { return &corev1.PodTemplateList{} },
			SetDefaults: core.SetDefaultsPodTemplate, PrepareForCreate: core.PreparePodTemplateForCreate, PrepareForUpdate: core.PreparePodTemplateForUpdate,
			Validate: core.ValidatePodTemplate, ValidateUpdate: core.ValidatePodTemplateUpdate,
			Warnings: core.WarningsPodTemplate,
		}.in(v1, "PodTemplate"),
		Kind[corev1.ReplicationController]{
			Resource: "replicationcontrollers", Singular: "replicationcontroller", ShortNames: []string{"rc"}, Categories: []string{"all"},
			List:   func() runtime.Object { return &corev1.ReplicationControllerList{} },
			Status: true, Generation: true, Orphan: true, SetDefaults: core.SetDefaultsReplicationController,
			PrepareForCreate: core.PrepareReplicationControllerForCreate, PrepareForUpdate: core.PrepareReplicationControllerForUpdate,
			Validate: core.ValidateReplicationController, ValidateUpdate: core.ValidateReplicationControllerUpdate,
			ValidateStatusUpdate: core.ValidateReplicationControllerStatusUpdate,
			Fields: func(rc *corev1.ReplicationController) fields.Set {
				return fields.Set{"status.replicas": strconv.Itoa(int(rc.Status.Replicas))}
			},
			Warnings: core.WarningsReplicationController,
		}.in(v1, "ReplicationController"),
	}
}

// podFields are the fields that pods can be selected by; spec.nodeName is what every node agent watches by.
func podFields(p *corev1.Pod) fields.Set {
	ip := ""
	if len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	} else {
		ip = p.Status.PodIP
	}
	return fields.Set{
		"spec.nodeName": p.Spec.NodeName, "spec.restartPolicy": string(p.Spec.RestartPolicy), "spec.schedulerName": p.Spec.SchedulerName,
		"spec.serviceAccountName": p.Spec.ServiceAccountName, "spec.hostNetwork": strconv.FormatBool(p.Spec.HostNetwork),
		"status.phase": string(p.Status.Phase), "status.podIP": ip, "status.nominatedNodeName": p.Status.NominatedNodeName,
	}
}

// podGracePeriod is how long a pod may take to end: not at all where no node has it or nothing of it runs any more.
func podGracePeriod(p *corev1.Pod, options *metav1.DeleteOptions) int64 {
	var period int64
	switch {
	case options.GracePeriodSeconds != nil:
		period = *options.GracePeriodSeconds
	case p.Spec.TerminationGracePeriodSeconds != nil:
		period = *p.Spec.TerminationGracePeriodSeconds
	}
	if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		period = 0
	}
	if period < 0 {
		period = 1
	}
	return period
}

func eventFields(e *corev1.Event) fields.Set {
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	o := e.InvolvedObject
	return fields.Set{
		"involvedObject.kind": o.Kind, "involvedObject.namespace": o.Namespace, "involvedObject.name": o.Name, "involvedObject.uid": string(o.UID),
		"involvedObject.apiVersion": o.APIVersion, "involvedObject.resourceVersion": o.ResourceVersion, "involvedObject.fieldPath": o.FieldPath,
		"reason": e.Reason, "reportingComponent": source, "source": source, "type": e.Type,
	}
}
