// SPDX-License-Identifier: Apache-2.0

package table

import (
	"cmp"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/rest"
)

// forCluster knows what is about the cluster itself: rights, certificates, priorities, admission, flow control, devices.
func forCluster(kind schema.GroupKind) rest.TableConvertor {
	switch kind {
	case schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:
		return bindings("roleBinding", rbacv1.RoleBinding{}.SwaggerDoc()["roleRef"], func(b *rbacv1.RoleBinding) (rbacv1.RoleRef, []rbacv1.Subject) { return b.RoleRef, b.Subjects })
	case schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}:
		return bindings("clusterRoleBinding", rbacv1.ClusterRoleBinding{}.SwaggerDoc()["roleRef"], func(b *rbacv1.ClusterRoleBinding) (rbacv1.RoleRef, []rbacv1.Subject) { return b.RoleRef, b.Subjects })
	case schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}:
		return apiServices()
	case schema.GroupKind{Group: "certificates.k8s.io", Kind: "CertificateSigningRequest"}:
		return signingRequests()
	case schema.GroupKind{Group: "certificates.k8s.io", Kind: "ClusterTrustBundle"}:
		return of(name[certificatesv1.ClusterTrustBundle](),
			text("SignerName", certificatesv1.ClusterTrustBundleSpec{}.SwaggerDoc()["signerName"], func(b *certificatesv1.ClusterTrustBundle) any { return or(b.Spec.SignerName, "<none>") }))
	case schema.GroupKind{Group: "scheduling.k8s.io", Kind: "PriorityClass"}:
		return priorityClasses()
	case schema.GroupKind{Group: "coordination.k8s.io", Kind: "Lease"}:
		return of(name[coordinationv1.Lease](),
			text("Holder", coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"], func(l *coordinationv1.Lease) any { return deref(l.Spec.HolderIdentity, "") }),
			age[coordinationv1.Lease]())
	case schema.GroupKind{Group: "node.k8s.io", Kind: "RuntimeClass"}:
		return of(name[nodev1.RuntimeClass](),
			text("Handler", "", func(c *nodev1.RuntimeClass) any { return c.Handler }),
			age[nodev1.RuntimeClass]())
	case schema.GroupKind{Group: "flowcontrol.apiserver.k8s.io", Kind: "FlowSchema"}:
		return flowSchemas()
	case schema.GroupKind{Group: "flowcontrol.apiserver.k8s.io", Kind: "PriorityLevelConfiguration"}:
		return priorityLevels()
	case schema.GroupKind{Group: "resource.k8s.io", Kind: "DeviceClass"}:
		return of(name[resourcev1.DeviceClass](), age[resourcev1.DeviceClass]())
	case schema.GroupKind{Group: "resource.k8s.io", Kind: "ResourceClaim"}:
		return of(name[resourcev1.ResourceClaim](),
			text("State", "A summary of the current state (allocated, pending, reserved, etc.).", claimState),
			age[resourcev1.ResourceClaim]())
	case schema.GroupKind{Group: "resource.k8s.io", Kind: "ResourceClaimTemplate"}:
		return of(name[resourcev1.ResourceClaimTemplate](), age[resourcev1.ResourceClaimTemplate]())
	case schema.GroupKind{Group: "resource.k8s.io", Kind: "ResourceSlice"}:
		return resourceSlices()
	}
	return forAdmission(kind)
}

// bindings is the table of both kinds of binding; parts takes one apart.
func bindings[T any](kind, roleRef string, parts func(*T) (rbacv1.RoleRef, []rbacv1.Subject)) *table[T] {
	subjects := func(of string, tell func(rbacv1.Subject) string) func(*T) any {
		return func(b *T) any {
			var names []string
			_, subjects := parts(b)
			for _, s := range subjects {
				if s.Kind == of {
					names = append(names, tell(s))
				}
			}
			return strings.Join(names, ", ")
		}
	}
	named := func(s rbacv1.Subject) string { return s.Name }
	return of(
		name[T](),
		text("Role", roleRef, func(b *T) any {
			ref, _ := parts(b)
			return ref.Kind + "/" + ref.Name
		}),
		age[T](),
		text("Users", "Users in the "+kind, subjects(rbacv1.UserKind, named)).wide(),
		text("Groups", "Groups in the "+kind, subjects(rbacv1.GroupKind, named)).wide(),
		text("ServiceAccounts", "ServiceAccounts in the "+kind, subjects(rbacv1.ServiceAccountKind, func(s rbacv1.Subject) string { return s.Namespace + "/" + s.Name })).wide(),
	)
}

func signingRequests() *table[certificatesv1.CertificateSigningRequest] {
	spec, status := certificatesv1.CertificateSigningRequestSpec{}.SwaggerDoc(), certificatesv1.CertificateSigningRequestStatus{}.SwaggerDoc()
	return of(
		name[certificatesv1.CertificateSigningRequest](),
		age[certificatesv1.CertificateSigningRequest](),
		text("SignerName", spec["signerName"], func(r *certificatesv1.CertificateSigningRequest) any { return or(r.Spec.SignerName, "<none>") }),
		text("Requestor", spec["request"], func(r *certificatesv1.CertificateSigningRequest) any { return r.Spec.Username }),
		text("RequestedDuration", spec["expirationSeconds"], func(r *certificatesv1.CertificateSigningRequest) any {
			if r.Spec.ExpirationSeconds == nil {
				return "<none>"
			}
			return duration.HumanDuration(time.Duration(*r.Spec.ExpirationSeconds) * time.Second)
		}),
		text("Condition", status["conditions"], func(r *certificatesv1.CertificateSigningRequest) any {
			has := map[certificatesv1.RequestConditionType]bool{}
			for _, c := range r.Status.Conditions {
				has[c.Type] = true
			}
			state := "Pending"
			if has[certificatesv1.CertificateDenied] {
				state = "Denied"
			} else if has[certificatesv1.CertificateApproved] {
				state = "Approved"
			}
			if has[certificatesv1.CertificateFailed] {
				state += ",Failed"
			}
			if len(r.Status.Certificate) > 0 {
				state += ",Issued"
			}
			return state
		}),
	)
}

func priorityClasses() *table[schedulingv1.PriorityClass] {
	doc := schedulingv1.PriorityClass{}.SwaggerDoc()
	return of(
		name[schedulingv1.PriorityClass](),
		integer("Value", doc["value"], func(c *schedulingv1.PriorityClass) any { return int64(c.Value) }),
		boolean("Global-Default", doc["globalDefault"], func(c *schedulingv1.PriorityClass) any { return c.GlobalDefault }),
		age[schedulingv1.PriorityClass](),
		text("PreemptionPolicy", doc["preemptionPolicy"], func(c *schedulingv1.PriorityClass) any { return string(deref(c.PreemptionPolicy, "")) }),
	)
}

// flowSchemas are listed in the order that requests are held against them.
func flowSchemas() *table[flowcontrolv1.FlowSchema] {
	spec := flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()
	t := of(
		name[flowcontrolv1.FlowSchema](),
		text("PriorityLevel", flowcontrolv1.PriorityLevelConfigurationReference{}.SwaggerDoc()["name"], func(s *flowcontrolv1.FlowSchema) any { return s.Spec.PriorityLevelConfiguration.Name }),
		text("MatchingPrecedence", spec["matchingPrecedence"], func(s *flowcontrolv1.FlowSchema) any { return int64(s.Spec.MatchingPrecedence) }),
		text("DistinguisherMethod", spec["distinguisherMethod"], func(s *flowcontrolv1.FlowSchema) any {
			if s.Spec.DistinguisherMethod == nil {
				return "<none>"
			}
			return string(s.Spec.DistinguisherMethod.Type)
		}),
		age[flowcontrolv1.FlowSchema](),
		text("MissingPL", "references a broken or non-existent PriorityLevelConfiguration", func(s *flowcontrolv1.FlowSchema) any {
			for _, c := range s.Status.Conditions {
				if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
					return string(c.Status)
				}
			}
			return "?"
		}),
	)
	t.order = func(a, b *flowcontrolv1.FlowSchema) int {
		return cmp.Or(cmp.Compare(a.Spec.MatchingPrecedence, b.Spec.MatchingPrecedence), cmp.Compare(a.Name, b.Name))
	}
	return t
}

func priorityLevels() *table[flowcontrolv1.PriorityLevelConfiguration] {
	queuing := func(tell func(*flowcontrolv1.QueuingConfiguration) int32) func(*flowcontrolv1.PriorityLevelConfiguration) any {
		return func(c *flowcontrolv1.PriorityLevelConfiguration) any {
			if c.Spec.Limited == nil || c.Spec.Limited.LimitResponse.Queuing == nil {
				return "<none>"
			}
			return int64(tell(c.Spec.Limited.LimitResponse.Queuing))
		}
	}
	doc := flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()
	return of(
		name[flowcontrolv1.PriorityLevelConfiguration](),
		text("Type", flowcontrolv1.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"], func(c *flowcontrolv1.PriorityLevelConfiguration) any { return string(c.Spec.Type) }),
		text("NominalConcurrencyShares", flowcontrolv1.LimitedPriorityLevelConfiguration{}.SwaggerDoc()["nominalConcurrencyShares"],
			func(c *flowcontrolv1.PriorityLevelConfiguration) any {
				if c.Spec.Limited == nil {
					return "<none>"
				}
				return int64(deref(c.Spec.Limited.NominalConcurrencyShares, 0))
			}),
		text("Queues", doc["queues"], queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.Queues })),
		text("HandSize", doc["handSize"], queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.HandSize })),
		text("QueueLengthLimit", doc["queueLengthLimit"], queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.QueueLengthLimit })),
		age[flowcontrolv1.PriorityLevelConfiguration](),
	)
}

func claimState(c *resourcev1.ResourceClaim) any {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case c.Status.Allocation != nil:
		states = append(states, "allocated")
		if len(c.Status.ReservedFor) > 0 {
			states = append(states, "reserved")
		}
	case c.DeletionTimestamp == nil:
		states = append(states, "pending")
	}
	return strings.Join(states, ",")
}

func resourceSlices() *table[resourcev1.ResourceSlice] {
	spec := resourcev1.ResourceSliceSpec{}.SwaggerDoc()
	return of(
		name[resourcev1.ResourceSlice](),
		text("Node", spec["nodeName"], func(s *resourcev1.ResourceSlice) any { return deref(s.Spec.NodeName, "") }),
		text("Driver", spec["driver"], func(s *resourcev1.ResourceSlice) any { return s.Spec.Driver }),
		text("Pool", resourcev1.ResourcePool{}.SwaggerDoc()["name"], func(s *resourcev1.ResourceSlice) any { return s.Spec.Pool.Name }),
		age[resourcev1.ResourceSlice](),
	)
}
