// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/hivemind-project/hivemind/apis/apps"
	"github.com/hivemind-project/hivemind/apis/autoscaling"
	"github.com/hivemind-project/hivemind/apis/batch"
	"github.com/hivemind-project/hivemind/apis/certificates"
	"github.com/hivemind-project/hivemind/apis/coordination"
	"github.com/hivemind-project/hivemind/apis/discovery"
	"github.com/hivemind-project/hivemind/apis/flowcontrol"
	"github.com/hivemind-project/hivemind/apis/networking"
	"github.com/hivemind-project/hivemind/apis/node"
	"github.com/hivemind-project/hivemind/apis/policy"
	"github.com/hivemind-project/hivemind/apis/rbac"
	"github.com/hivemind-project/hivemind/apis/scheduling"
	"github.com/hivemind-project/hivemind/apis/storage"
)

// rows is the whole table.
func rows() []*Resource {
	var all []*Resource
	for _, group := range [][]*Resource{coreRows(), appsRows(), batchRows(), networkingRows(), rbacRows(), storageRows(), deviceRows(), admissionRows(), flowcontrolRows(), aggregationRows(), smallGroupRows()} {
		all = append(all, group...)
	}
	return all
}

func appsRows() []*Resource {
	v1 := appsv1.SchemeGroupVersion
	return []*Resource{
		Kind[appsv1.Deployment]{
			StatusResets: []string{"metadata.labels"}, Changed: apps.DeploymentChanged,
			Resource: "deployments", Singular: "deployment", ShortNames: []string{"deploy"}, Categories: []string{"all"},
			List:   func() runtime.Object { return &appsv1.DeploymentList{} },
			Status: true, Generation: true, SetDefaults: apps.SetDefaultsDeployment,
			PrepareForCreate: apps.PrepareDeploymentForCreate, PrepareForUpdate: apps.PrepareDeploymentForUpdate,
			Validate: apps.ValidateDeployment, ValidateUpdate: apps.ValidateDeploymentUpdate, ValidateStatusUpdate: apps.ValidateDeploymentStatusUpdate,
			Warnings: apps.WarningsDeployment,
		}.in(v1, "Deployment"),
		Kind[appsv1.ReplicaSet]{
			Resource: "replicasets", Singular: "replicaset", ShortNames: []string{"rs"}, Categories: []string{"all"},
			List:   func() runtime.Object { return &appsv1.ReplicaSetList{} },
			Status: true, Generation: true, SetDefaults: apps.SetDefaultsReplicaSet,
			PrepareForCreate: apps.PrepareReplicaSetForCreate, PrepareForUpdate: apps.PrepareReplicaSetForUpdate,
			Validate: apps.ValidateReplicaSet, ValidateUpdate: apps.ValidateReplicaSetUpdate, ValidateStatusUpdate: apps.ValidateReplicaSetStatusUpdate,
			Warnings: apps.WarningsReplicaSet,
		}.in(v1, "ReplicaSet"),
		Kind[appsv1.StatefulSet]{
			Resource: "statefulsets", Singular: "statefulset", ShortNames: []string{"sts"}, Categories: []string{"all"},
			List:   func() runtime.Object { return &appsv1.StatefulSetList{} },
			Status: true, Generation: true, SetDefaults: apps.SetDefaultsStatefulSet,
			PrepareForCreate: apps.PrepareStatefulSetForCreate, PrepareForUpdate: apps.PrepareStatefulSetForUpdate,
			Validate: apps.ValidateStatefulSet, ValidateUpdate: apps.ValidateStatefulSetUpdate, ValidateStatusUpdate: apps.ValidateStatefulSetStatusUpdate,
			Warnings: apps.WarningsStatefulSet,
		}.in(v1, "StatefulSet"),
		Kind[appsv1.DaemonSet]{
			Resource: "daemonsets", Singular: "daemonset", ShortNames: []string{"ds"}, Categories: []string{"all"},
			List:   func() runtime.Object { return &appsv1.DaemonSetList{} },
			Status: true, Generation: true, SetDefaults: apps.SetDefaultsDaemonSet,
			PrepareForCreate: apps.PrepareDaemonSetForCreate, PrepareForUpdate: apps.PrepareDaemonSetForUpdate,
			Validate: apps.ValidateDaemonSet, ValidateUpdate: apps.ValidateDaemonSetUpdate, ValidateStatusUpdate: apps.ValidateDaemonSetStatusUpdate,
			Warnings: apps.WarningsDaemonSet,
		}.in(v1, "DaemonSet"),
		Kind[appsv1.ControllerRevision]{
			Resource: "controllerrevisions", Singular: "controllerrevision",
			List:     func() runtime.Object { return &appsv1.ControllerRevisionList{} },
			Validate: apps.ValidateControllerRevision, ValidateUpdate: apps.ValidateControllerRevisionUpdate,
		}.in(v1, "ControllerRevision"),
	}
}

func batchRows() []*Resource {
	v1 := batchv1.SchemeGroupVersion
	return []*Resource{
		Kind[batchv1.Job]{
			UnknownField: "field label %q not supported for Job", DeleteWarning: batch.DeleteWarning,
			Resource: "jobs", Singular: "job", Categories: []string{"all"},
			List:   func() runtime.Object { return &batchv1.JobList{} },
			Status: true, Generation: true, Orphan: true, SetDefaults: batch.SetDefaultsJob,
			PrepareForCreate: batch.PrepareJobForCreate, PrepareForUpdate: batch.PrepareJobForUpdate,
			Validate: batch.ValidateJob, ValidateUpdate: batch.ValidateJobUpdate, ValidateStatusUpdate: batch.ValidateJobStatusUpdate,
			Fields: func(j *batchv1.Job) fields.Set {
				return fields.Set{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
			},
			Warnings: batch.WarningsJob,
		}.in(v1, "Job"),
		Kind[batchv1.CronJob]{
			Resource: "cronjobs", Singular: "cronjob", ShortNames: []string{"cj"}, Categories: []string{"all"},
			List:   func() runtime.Object { return &batchv1.CronJobList{} },
			Status: true, Generation: true, SetDefaults: batch.SetDefaultsCronJob,
			PrepareForCreate: batch.PrepareCronJobForCreate, PrepareForUpdate: batch.PrepareCronJobForUpdate,
			Validate: batch.ValidateCronJob, ValidateUpdate: batch.ValidateCronJobUpdate, ValidateStatusUpdate: batch.ValidateCronJobStatusUpdate,
			Warnings: batch.WarningsCronJob,
		}.in(v1, "CronJob"),
	}
}

func networkingRows() []*Resource {
	v1 := networkingv1.SchemeGroupVersion
	return []*Resource{
		Kind[networkingv1.Ingress]{
			Resource: "ingresses", Singular: "ingress", ShortNames: []string{"ing"},
			List:   func() runtime.Object { return &networkingv1.IngressList{} },
			Status: true, Generation: true,
			Validate: networking.ValidateIngress, ValidateUpdate: networking.ValidateIngressUpdate, ValidateStatusUpdate: networking.ValidateIngressStatusUpdate,
			Warnings: networking.WarningsIngress, StatusWarnings: networking.WarningsIngressStatus,
		}.in(v1, "Ingress"),
		Kind[networkingv1.IngressClass]{
			Resource: "ingressclasses", Singular: "ingressclass", Cluster: true, Generation: true,
			List:        func() runtime.Object { return &networkingv1.IngressClassList{} },
			SetDefaults: networking.SetDefaultsIngressClass, Validate: networking.ValidateIngressClass, ValidateUpdate: networking.ValidateIngressClassUpdate,
		}.in(v1, "IngressClass"),
		Kind[networkingv1.NetworkPolicy]{
			Resource: "networkpolicies", Singular: "networkpolicy", ShortNames: []string{"netpol"}, Generation: true,
			List:        func() runtime.Object { return &networkingv1.NetworkPolicyList{} },
			SetDefaults: networking.SetDefaultsNetworkPolicy, Validate: networking.ValidateNetworkPolicy, ValidateUpdate: networking.ValidateNetworkPolicyUpdate,
			Warnings: networking.WarningsNetworkPolicy,
		}.in(v1, "NetworkPolicy"),
		Kind[networkingv1.ServiceCIDR]{
			Resource: "servicecidrs", Singular: "servicecidr", Cluster: true,
			List:   func() runtime.Object { return &networkingv1.ServiceCIDRList{} },
			Status: true, StatusResets: []string{"metadata"},
			Validate: networking.ValidateServiceCIDR, ValidateUpdate: networking.ValidateServiceCIDRUpdate, ValidateStatusUpdate: networking.ValidateServiceCIDRStatusUpdate,
		}.in(v1, "ServiceCIDR"),
		Kind[networkingv1.IPAddress]{
			Resource: "ipaddresses", Singular: "ipaddress", ShortNames: []string{"ip"}, Cluster: true,
			List:     func() runtime.Object { return &networkingv1.IPAddressList{} },
			Validate: networking.ValidateIPAddress, ValidateUpdate: networking.ValidateIPAddressUpdate,
		}.in(v1, "IPAddress"),
	}
}

func rbacRows() []*Resource {
	v1 := rbacv1.SchemeGroupVersion
	return []*Resource{
		Kind[rbacv1.Role]{
			Resource: "roles", Singular: "role", CreateOnUpdate: true,
			List:     func() runtime.Object { return &rbacv1.RoleList{} },
			Validate: rbac.ValidateRole, ValidateUpdate: rbac.ValidateRoleUpdate,
		}.in(v1, "Role"),
		Kind[rbacv1.RoleBinding]{
			Resource: "rolebindings", Singular: "rolebinding", CreateOnUpdate: true,
			List:        func() runtime.Object { return &rbacv1.RoleBindingList{} },
			SetDefaults: rbac.SetDefaultsRoleBinding, Validate: rbac.ValidateRoleBinding, ValidateUpdate: rbac.ValidateRoleBindingUpdate,
		}.in(v1, "RoleBinding"),
		Kind[rbacv1.ClusterRole]{
			Resource: "clusterroles", Singular: "clusterrole", Cluster: true, CreateOnUpdate: true,
			List:     func() runtime.Object { return &rbacv1.ClusterRoleList{} },
			Validate: rbac.ValidateClusterRole, ValidateUpdate: rbac.ValidateClusterRoleUpdate,
		}.in(v1, "ClusterRole"),
		Kind[rbacv1.ClusterRoleBinding]{
			Resource: "clusterrolebindings", Singular: "clusterrolebinding", Cluster: true, CreateOnUpdate: true,
			List:        func() runtime.Object { return &rbacv1.ClusterRoleBindingList{} },
			SetDefaults: rbac.SetDefaultsClusterRoleBinding, Validate: rbac.ValidateClusterRoleBinding, ValidateUpdate: rbac.ValidateClusterRoleBindingUpdate,
		}.in(v1, "ClusterRoleBinding"),
	}
}

func storageRows() []*Resource {
	v1 := storagev1.SchemeGroupVersion
	return []*Resource{
		Kind[storagev1.StorageClass]{
			ReturnDeleted: true,
			Resource:      "storageclasses", Singular: "storageclass", ShortNames: []string{"sc"}, Cluster: true,
			List:        func() runtime.Object { return &storagev1.StorageClassList{} },
			SetDefaults: storage.SetDefaultsStorageClass, Validate: storage.ValidateStorageClass, ValidateUpdate: storage.ValidateStorageClassUpdate,
			Warnings: storage.WarningsStorageClass,
		}.in(v1, "StorageClass"),
		Kind[storagev1.VolumeAttributesClass]{
			ReturnDeleted: true,
			Resource:      "volumeattributesclasses", Singular: "volumeattributesclass", ShortNames: []string{"vac"}, Cluster: true,
			List:     func() runtime.Object { return &storagev1.VolumeAttributesClassList{} },
			Validate: storage.ValidateVolumeAttributesClass, ValidateUpdate: storage.ValidateVolumeAttributesClassUpdate,
		}.in(v1, "VolumeAttributesClass"),
		Kind[storagev1.CSIDriver]{
			ReturnDeleted: true,
			Resource:      "csidrivers", Singular: "csidriver", Cluster: true, NeedsResourceVersion: true,
			List:        func() runtime.Object { return &storagev1.CSIDriverList{} },
			SetDefaults: storage.SetDefaultsCSIDriver, PrepareForUpdate: storage.PrepareCSIDriverForUpdate,
			Validate: storage.ValidateCSIDriver, ValidateUpdate: storage.ValidateCSIDriverUpdate,
			Warnings: storage.WarningsCSIDriver,
		}.in(v1, "CSIDriver"),
		Kind[storagev1.CSINode]{
			ReturnDeleted: true,
			Resource:      "csinodes", Singular: "csinode", Cluster: true, NeedsResourceVersion: true,
			List:     func() runtime.Object { return &storagev1.CSINodeList{} },
			Validate: storage.ValidateCSINode, ValidateUpdate: storage.ValidateCSINodeUpdate,
		}.in(v1, "CSINode"),
		Kind[storagev1.CSIStorageCapacity]{
			Resource: "csistoragecapacities", Singular: "csistoragecapacity", NeedsResourceVersion: true,
			List:     func() runtime.Object { return &storagev1.CSIStorageCapacityList{} },
			Validate: storage.ValidateCSIStorageCapacity, ValidateUpdate: storage.ValidateCSIStorageCapacityUpdate,
			Warnings: storage.WarningsCSIStorageCapacity,
		}.in(v1, "CSIStorageCapacity"),
		Kind[storagev1.VolumeAttachment]{
			ReturnDeleted: true, StatusResets: []string{"metadata"},
			Resource: "volumeattachments", Singular: "volumeattachment", Cluster: true, Status: true, NeedsResourceVersion: true,
			List:        func() runtime.Object { return &storagev1.VolumeAttachmentList{} },
			SetDefaults: storage.SetDefaultsVolumeAttachment,
			Validate:    storage.ValidateVolumeAttachment, ValidateUpdate: storage.ValidateVolumeAttachmentUpdate, ValidateStatusUpdate: storage.ValidateVolumeAttachmentStatusUpdate,
		}.in(v1, "VolumeAttachment"),
	}
}

func flowcontrolRows() []*Resource {
	v1 := flowcontrolv1.SchemeGroupVersion
	return []*Resource{
		Kind[flowcontrolv1.FlowSchema]{
			Resource: "flowschemas", Singular: "flowschema", Cluster: true, Status: true, Generation: true, StatusResets: []string{"metadata"},
			List:        func() runtime.Object { return &flowcontrolv1.FlowSchemaList{} },
			SetDefaults: flowcontrol.SetDefaultsFlowSchema, PrepareForStatusUpdate: flowcontrol.PrepareFlowSchemaForStatusUpdate, Validate: flowcontrol.ValidateFlowSchema,
			ValidateUpdate: flowcontrol.ValidateFlowSchemaUpdate, ValidateStatusUpdate: flowcontrol.ValidateFlowSchemaStatusUpdate,
		}.in(v1, "FlowSchema"),
		Kind[flowcontrolv1.PriorityLevelConfiguration]{
			Resource: "prioritylevelconfigurations", Singular: "prioritylevelconfiguration", Cluster: true, Status: true, Generation: true, StatusResets: []string{"metadata"},
			List:        func() runtime.Object { return &flowcontrolv1.PriorityLevelConfigurationList{} },
			SetDefaults: flowcontrol.SetDefaultsPriorityLevelConfiguration, PrepareForStatusUpdate: flowcontrol.PreparePriorityLevelConfigurationForStatusUpdate,
			Validate:       flowcontrol.ValidatePriorityLevelConfiguration,
			ValidateUpdate: flowcontrol.ValidatePriorityLevelConfigurationUpdate, ValidateStatusUpdate: flowcontrol.ValidatePriorityLevelConfigurationStatusUpdate,
		}.in(v1, "PriorityLevelConfiguration"),
	}
}

// smallGroupRows are the groups of one kind each.
func smallGroupRows() []*Resource {
	return []*Resource{
		Kind[autoscalingv2.HorizontalPodAutoscaler]{
			AlsoServed: []schema.GroupVersion{autoscalingv1.SchemeGroupVersion},
			Resource:   "horizontalpodautoscalers", Singular: "horizontalpodautoscaler", ShortNames: []string{"hpa"}, Categories: []string{"all"}, Status: true,
			List:        func() runtime.Object { return &autoscalingv2.HorizontalPodAutoscalerList{} },
			SetDefaults: autoscaling.SetDefaultsHorizontalPodAutoscaler, Validate: autoscaling.ValidateHorizontalPodAutoscaler,
			ValidateUpdate: autoscaling.ValidateHorizontalPodAutoscalerUpdate, ValidateStatusUpdate: autoscaling.ValidateHorizontalPodAutoscalerStatusUpdate,
		}.in(autoscalingv2.SchemeGroupVersion, "HorizontalPodAutoscaler"),
		Kind[certificatesv1.CertificateSigningRequest]{
			Resets: []string{"spec"}, StatusResets: []string{"status.conditions"},
			Resource: "certificatesigningrequests", Singular: "certificatesigningrequest", ShortNames: []string{"csr"}, Cluster: true, Status: true,
			List:             func() runtime.Object { return &certificatesv1.CertificateSigningRequestList{} },
			PrepareForCreate: certificates.PrepareCertificateSigningRequestForCreate, PrepareForUpdate: certificates.PrepareCertificateSigningRequestForUpdate,
			PrepareForStatusUpdate: certificates.PrepareCertificateSigningRequestForStatusUpdate,
			Validate:               certificates.ValidateCertificateSigningRequest, ValidateUpdate: certificates.ValidateCertificateSigningRequestUpdate,
			ValidateStatusUpdate: certificates.ValidateCertificateSigningRequestStatusUpdate,
			Fields: func(csr *certificatesv1.CertificateSigningRequest) fields.Set {
				return fields.Set{"spec.signerName": csr.Spec.SignerName}
			},
		}.in(certificatesv1.SchemeGroupVersion, "CertificateSigningRequest"),
		Kind[coordinationv1.Lease]{
			Resource: "leases", Singular: "lease", CreateOnUpdate: true, NeedsResourceVersion: true,
			List:             func() runtime.Object { return &coordinationv1.LeaseList{} },
			PrepareForCreate: coordination.PrepareLeaseForCreate, PrepareForUpdate: coordination.PrepareLeaseForUpdate,
			Validate: coordination.ValidateLease, ValidateUpdate: coordination.ValidateLeaseUpdate,
		}.in(coordinationv1.SchemeGroupVersion, "Lease"),
		Kind[discoveryv1.EndpointSlice]{
			Resource: "endpointslices", Singular: "endpointslice", Generation: true, Changed: discovery.EndpointSliceChanged,
			List:        func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
			SetDefaults: discovery.SetDefaultsEndpointSlice, PrepareForCreate: discovery.PrepareEndpointSliceForCreate, PrepareForUpdate: discovery.PrepareEndpointSliceForUpdate,
			Validate: discovery.ValidateEndpointSlice, ValidateUpdate: discovery.ValidateEndpointSliceUpdate,
			Warnings: discovery.WarningsEndpointSlice,
		}.in(discoveryv1.SchemeGroupVersion, "EndpointSlice"),
		Kind[nodev1.RuntimeClass]{
			Resource: "runtimeclasses", Singular: "runtimeclass", Cluster: true, CreateOnUpdate: true, NeedsResourceVersion: true,
			List:     func() runtime.Object { return &nodev1.RuntimeClassList{} },
			Validate: node.ValidateRuntimeClass, ValidateUpdate: node.ValidateRuntimeClassUpdate,
			Warnings: node.WarningsRuntimeClass,
		}.in(nodev1.SchemeGroupVersion, "RuntimeClass"),
		Kind[policyv1.PodDisruptionBudget]{
			Resource: "poddisruptionbudgets", Singular: "poddisruptionbudget", ShortNames: []string{"pdb"}, Status: true, Generation: true, NeedsResourceVersion: true,
			List:     func() runtime.Object { return &policyv1.PodDisruptionBudgetList{} },
			Validate: policy.ValidatePodDisruptionBudget, ValidateUpdate: policy.ValidatePodDisruptionBudgetUpdate, ValidateStatusUpdate: policy.ValidatePodDisruptionBudgetStatusUpdate,
		}.in(policyv1.SchemeGroupVersion, "PodDisruptionBudget"),
		Kind[schedulingv1.PriorityClass]{
			Changed:  func(_, _ *schedulingv1.PriorityClass) bool { return false }, // the generation is that of its birth
			Resource: "priorityclasses", Singular: "priorityclass", ShortNames: []string{"pc"}, Cluster: true, Generation: true,
			List:        func() runtime.Object { return &schedulingv1.PriorityClassList{} },
			SetDefaults: scheduling.SetDefaultsPriorityClass, Validate: scheduling.ValidatePriorityClass, ValidateUpdate: scheduling.ValidatePriorityClassUpdate,
		}.in(schedulingv1.SchemeGroupVersion, "PriorityClass"),
	}
}
