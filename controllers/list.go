// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"net/netip"

	"k8s.io/client-go/kubernetes"

	"github.com/hivemind-project/hivemind/controllers/bootstrapsigner"
	"github.com/hivemind-project/hivemind/controllers/certificates"
	"github.com/hivemind-project/hivemind/controllers/clusterroleaggregation"
	"github.com/hivemind-project/hivemind/controllers/cronjob"
	"github.com/hivemind-project/hivemind/controllers/daemonset"
	"github.com/hivemind-project/hivemind/controllers/deployment"
	"github.com/hivemind-project/hivemind/controllers/disruption"
	"github.com/hivemind-project/hivemind/controllers/endpoints"
	"github.com/hivemind-project/hivemind/controllers/endpointslice"
	"github.com/hivemind-project/hivemind/controllers/endpointslicemirroring"
	"github.com/hivemind-project/hivemind/controllers/garbagecollector"
	"github.com/hivemind-project/hivemind/controllers/job"
	"github.com/hivemind-project/hivemind/controllers/namespace"
	"github.com/hivemind-project/hivemind/controllers/nodeipam"
	"github.com/hivemind-project/hivemind/controllers/nodelifecycle"
	"github.com/hivemind-project/hivemind/controllers/persistentvolume"
	"github.com/hivemind-project/hivemind/controllers/podgc"
	"github.com/hivemind-project/hivemind/controllers/replicaset"
	"github.com/hivemind-project/hivemind/controllers/resourceclaim"
	"github.com/hivemind-project/hivemind/controllers/resourcequota"
	"github.com/hivemind-project/hivemind/controllers/rootca"
	"github.com/hivemind-project/hivemind/controllers/serviceaccount"
	"github.com/hivemind-project/hivemind/controllers/serviceaccounttoken"
	"github.com/hivemind-project/hivemind/controllers/servicecidr"
	"github.com/hivemind-project/hivemind/controllers/statefulset"
	"github.com/hivemind-project/hivemind/controllers/tokencleaner"
	"github.com/hivemind-project/hivemind/controllers/ttlafterfinished"
	"github.com/hivemind-project/hivemind/controllers/validatingadmissionpolicystatus"
)

// All returns every controller. Their order does not matter.
func All() []Entry {
	return []Entry{
		entry("serviceaccount-controller", "service-account-controller", 1, func(d Deps, client kubernetes.Interface) (*serviceaccount.Controller, error) {
			core := d.Informers.Core().V1()
			return serviceaccount.New(client, core.ServiceAccounts(), core.Namespaces())
		}),
		entry("serviceaccount-token-controller", "", 1, func(d Deps, client kubernetes.Interface) (*serviceaccounttoken.Controller, error) {
			core := d.Informers.Core().V1()
			return serviceaccounttoken.New(client, core.ServiceAccounts(), core.Secrets(), d.IssueToken, d.RootCA)
		}),
		entry("root-ca-certificate-publisher-controller", "root-ca-cert-publisher", 1, func(d Deps, client kubernetes.Interface) (*rootca.Controller, error) {
			core := d.Informers.Core().V1()
			return rootca.New(client, core.ConfigMaps(), core.Namespaces(), d.RootCA)
		}),
		entry("namespace-controller", "namespace-controller", 3, func(d Deps, client kubernetes.Interface) (*namespace.Controller, error) {
			metadata, err := d.Metadata("namespace-controller")
			if err != nil {
				return nil, err
			}
			core := d.Informers.Core().V1()
			return namespace.New(client, metadata, client.Discovery(), core.Namespaces(), core.Pods())
		}),
		entry("garbage-collector-controller", "generic-garbage-collector", 6, func(d Deps, client kubernetes.Interface) (*garbagecollector.Controller, error) {
			metadata, err := d.Metadata("generic-garbage-collector")
			if err != nil {
				return nil, err
			}
			return garbagecollector.New(metadata, client.Discovery(), d.Informers, d.recorder("garbage-collector-controller")), nil
		}),
		entry("deployment-controller", "deployment-controller", 3, func(d Deps, client kubernetes.Interface) (*deployment.Controller, error) {
			apps := d.Informers.Apps().V1()
			return deployment.New(client, apps.Deployments(), apps.ReplicaSets(), d.Informers.Core().V1().Pods(), d.recorder("deployment-controller"))
		}),
		entry("replicaset-controller", "replicaset-controller", 4, func(d Deps, client kubernetes.Interface) (*replicaset.Controller, error) {
			return replicaset.New(client, d.Informers.Apps().V1().ReplicaSets(), d.Informers.Core().V1().Pods(), d.recorder("replicaset-controller"))
		}),
		entry("replicationcontroller-controller", "replication-controller", 2, func(d Deps, client kubernetes.Interface) (*replicaset.Controller, error) {
			core := d.Informers.Core().V1()
			return replicaset.NewForReplicationControllers(client, core.ReplicationControllers(), core.Pods(), d.recorder("replication-controller"))
		}),
		entry("statefulset-controller", "statefulset-controller", 2, func(d Deps, client kubernetes.Interface) (*statefulset.Controller, error) {
			apps, core := d.Informers.Apps().V1(), d.Informers.Core().V1()
			return statefulset.New(client, apps.StatefulSets(), apps.ControllerRevisions(), core.Pods(), core.PersistentVolumeClaims(), d.recorder("statefulset-controller"))
		}),
		entry("daemonset-controller", "daemon-set-controller", 2, func(d Deps, client kubernetes.Interface) (*daemonset.Controller, error) {
			apps, core := d.Informers.Apps().V1(), d.Informers.Core().V1()
			return daemonset.New(client, apps.DaemonSets(), apps.ControllerRevisions(), core.Pods(), core.Nodes(), d.recorder("daemonset-controller"))
		}),
		entry("job-controller", "job-controller", 3, func(d Deps, client kubernetes.Interface) (*job.Controller, error) {
			return job.New(client, d.Informers.Batch().V1().Jobs(), d.Informers.Core().V1().Pods(), d.recorder("job-controller"))
		}),
		entry("cronjob-controller", "cronjob-controller", 2, func(d Deps, client kubernetes.Interface) (*cronjob.Controller, error) {
			batch := d.Informers.Batch().V1()
			return cronjob.New(client, batch.CronJobs(), batch.Jobs(), d.recorder("cronjob-controller"))
		}),
		entry("ttl-after-finished-controller", "ttl-after-finished-controller", 1, func(d Deps, client kubernetes.Interface) (*ttlafterfinished.Controller, error) {
			return ttlafterfinished.New(client, d.Informers.Batch().V1().Jobs())
		}),
		entry("endpoints-controller", "endpoint-controller", 2, func(d Deps, client kubernetes.Interface) (*endpoints.Controller, error) {
			core := d.Informers.Core().V1()
			return endpoints.New(client, core.Services(), core.Pods(), core.Endpoints(), d.recorder("endpoint-controller"))
		}),
		entry("endpointslice-controller", "endpointslice-controller", 3, func(d Deps, client kubernetes.Interface) (*endpointslice.Controller, error) {
			core := d.Informers.Core().V1()
			return endpointslice.New(client, core.Services(), core.Pods(), core.Nodes(), d.Informers.Discovery().V1().EndpointSlices(), d.recorder("endpoint-slice-controller"))
		}),
		entry("endpointslice-mirroring-controller", "endpointslicemirroring-controller", 2, func(d Deps, client kubernetes.Interface) (*endpointslicemirroring.Controller, error) {
			core := d.Informers.Core().V1()
			return endpointslicemirroring.New(client, core.Endpoints(), core.Services(), d.Informers.Discovery().V1().EndpointSlices(), d.recorder("endpoint-slice-mirroring-controller"))
		}),
		entry("disruption-controller", "disruption-controller", 2, func(d Deps, client kubernetes.Interface) (*disruption.Controller, error) {
			return disruption.New(client, d.Informers.Policy().V1().PodDisruptionBudgets(), d.Informers.Core().V1(), d.Informers.Apps().V1(), d.recorder("controllermanager"))
		}),
		entry("resourcequota-controller", "resourcequota-controller", 3, func(d Deps, client kubernetes.Interface) (*resourcequota.Controller, error) {
			metadata, err := d.Metadata("resourcequota-controller")
			if err != nil {
				return nil, err
			}
			return resourcequota.New(client, metadata, d.Informers)
		}),
		entry("resourceclaim-controller", "resource-claim-controller", 2, func(d Deps, client kubernetes.Interface) (*resourceclaim.Controller, error) {
			devices := d.Informers.Resource().V1()
			return resourceclaim.New(client, d.Informers.Core().V1().Pods(), devices.ResourceClaims(), devices.ResourceClaimTemplates(), d.recorder("resource_claim"))
		}),
		entry("certificatesigningrequest-controller", "certificate-controller", 1, func(d Deps, client kubernetes.Interface) (*certificates.Controller, error) {
			return certificates.New(client, d.Informers.Certificates().V1().CertificateSigningRequests(), d.Authority)
		}),
		entry("bootstrap-signer-controller", "bootstrap-signer", 1, func(d Deps, client kubernetes.Interface) (*bootstrapsigner.Controller, error) {
			core := d.Informers.Core().V1()
			return bootstrapsigner.New(client, core.Secrets(), core.ConfigMaps())
		}),
		entry("token-cleaner-controller", "token-cleaner", 1, func(d Deps, client kubernetes.Interface) (*tokencleaner.Controller, error) {
			return tokencleaner.New(client, d.Informers.Core().V1().Secrets())
		}),
		entry("pod-garbage-collector-controller", "pod-garbage-collector", 1, func(d Deps, client kubernetes.Interface) (*podgc.Controller, error) {
			core := d.Informers.Core().V1()
			return podgc.New(client, core.Pods(), core.Nodes(), podgc.DefaultThreshold), nil
		}),
		entry("validatingadmissionpolicy-status-controller", "validatingadmissionpolicy-status-controller", 1, func(d Deps, client kubernetes.Interface) (*validatingadmissionpolicystatus.Controller, error) {
			return validatingadmissionpolicystatus.New(client, d.Informers.Admissionregistration().V1().ValidatingAdmissionPolicies())
		}),
		entry("clusterrole-aggregation-controller", "clusterrole-aggregation-controller", 1, func(d Deps, client kubernetes.Interface) (*clusterroleaggregation.Controller, error) {
			return clusterroleaggregation.New(client, d.Informers.Rbac().V1().ClusterRoles())
		}),
		entry("node-lifecycle-controller", "node-controller", 2, func(d Deps, client kubernetes.Interface) (*nodelifecycle.Controller, error) {
			core := d.Informers.Core().V1()
			return nodelifecycle.New(client, core.Nodes(), d.Informers.Coordination().V1().Leases(), core.Pods(), d.recorder("node-controller"), nodelifecycle.Options{})
		}),
		entry("taint-eviction-controller", "node-controller", 2, func(d Deps, client kubernetes.Interface) (*nodelifecycle.Evictor, error) {
			core := d.Informers.Core().V1()
			return nodelifecycle.NewEvictor(client, core.Nodes(), core.Pods(), d.recorder("taint-eviction-controller"), nodelifecycle.Options{})
		}),
		entry("node-ipam-controller", "node-controller", 1, func(d Deps, client kubernetes.Interface) (*nodeipam.Controller, error) {
			pods, err := netip.ParsePrefix(d.Config.Network.PodCIDR)
			if err != nil {
				return nil, fmt.Errorf("read the pod CIDR: %w", err)
			}
			return nodeipam.New(client, d.Informers.Core().V1().Nodes(), d.recorder("cidrAllocator"), pods, d.Config.NodeBits())
		}),
		entry("persistentvolume-binder-controller", "persistent-volume-binder", 2, func(d Deps, client kubernetes.Interface) (*persistentvolume.Binder, error) {
			core := d.Informers.Core().V1()
			return persistentvolume.NewBinder(client, core.PersistentVolumeClaims(), core.PersistentVolumes(), d.Informers.Storage().V1().StorageClasses(),
				core.Nodes(), core.Pods(), d.recorder("persistentvolume-controller"), d.Config.Path("volumes"))
		}),
		entry("persistentvolumeclaim-protection-controller", "pvc-protection-controller", 1, func(d Deps, client kubernetes.Interface) (*persistentvolume.ClaimProtection, error) {
			core := d.Informers.Core().V1()
			return persistentvolume.NewClaimProtection(client, core.PersistentVolumeClaims(), core.Pods())
		}),
		entry("persistentvolume-protection-controller", "pv-protection-controller", 1, func(d Deps, client kubernetes.Interface) (*persistentvolume.VolumeProtection, error) {
			return persistentvolume.NewVolumeProtection(client, d.Informers.Core().V1().PersistentVolumes())
		}),
		entry("volumeattributesclass-protection-controller", "volumeattributesclass-protection-controller", 1, func(d Deps, client kubernetes.Interface) (*persistentvolume.ClassProtection, error) {
			core := d.Informers.Core().V1()
			return persistentvolume.NewClassProtection(client, d.Informers.Storage().V1().VolumeAttributesClasses(), core.PersistentVolumeClaims(), core.PersistentVolumes())
		}),
		entry("service-cidr-controller", "service-cidrs-controller", 1, func(d Deps, client kubernetes.Interface) (*servicecidr.Controller, error) {
			networking := d.Informers.Networking().V1()
			return servicecidr.New(client, networking.ServiceCIDRs(), networking.IPAddresses(), d.recorder("service-cidr-controller"))
		}),
	}
}
