// SPDX-License-Identifier: Apache-2.0

// Package scheduling says what a PriorityClass is. Names that begin with system- are Kubernetes' own, and with them the
// priorities above a thousand million.
package scheduling

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// Priorities of the API (KEP-268): what users may set at most, and the two classes above that.
const (
	HighestUserDefinablePriority int32 = 1000000000
	SystemClusterCritical        int32 = 2 * HighestUserDefinablePriority
	SystemNodeCritical           int32 = SystemClusterCritical + 1000

	systemPrefix = "system-"
)

// SystemPriorityClasses returns the classes that every cluster has.
func SystemPriorityClasses() []*schedulingv1.PriorityClass {
	class := func(name string, value int32, description string) *schedulingv1.PriorityClass {
		c := &schedulingv1.PriorityClass{Value: value, Description: description}
		c.Name = name
		SetDefaultsPriorityClass(c)
		return c
	}
	return []*schedulingv1.PriorityClass{
		class("system-node-critical", SystemNodeCritical, "Used for system critical pods that must not be moved from their current node."),
		class("system-cluster-critical", SystemClusterCritical, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
	}
}

// SetDefaultsPriorityClass fills in what a PriorityClass leaves open.
func SetDefaultsPriorityClass(class *schedulingv1.PriorityClass) {
	if class.PreemptionPolicy == nil {
		class.PreemptionPolicy = ptr.To(corev1.PreemptLowerPriority)
	}
}

// ValidatePriorityClass checks a new PriorityClass.
func ValidatePriorityClass(class *schedulingv1.PriorityClass) field.ErrorList {
	var l check.List
	l.Add(check.ClusterMetadata(&class.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	if strings.HasPrefix(class.Name, systemPrefix) {
		if problem := systemClassProblem(class); problem != "" {
			l.Forbidden(field.NewPath("metadata", "name"), "priority class names with '"+systemPrefix+"' prefix are reserved for system use only. error: "+problem)
		}
	} else if class.Value > HighestUserDefinablePriority {
		l.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %v", HighestUserDefinablePriority))
	}
	if class.PreemptionPolicy != nil {
		l.Add(core.ValidatePreemptionPolicy(field.NewPath("preemptionPolicy"), *class.PreemptionPolicy))
	}
	return l.Errors()
}

// systemClassProblem says how a class differs from the system's class of that name; "" when it does not.
func systemClassProblem(class *schedulingv1.PriorityClass) string {
	for _, known := range SystemPriorityClasses() {
		if known.Name != class.Name {
			continue
		}
		if known.Value != class.Value {
			return fmt.Sprintf("value of %v PriorityClass must be %v", known.Name, known.Value)
		}
		if known.GlobalDefault != class.GlobalDefault {
			return fmt.Sprintf("globalDefault of %v PriorityClass must be %v", known.Name, known.GlobalDefault)
		}
		return ""
	}
	return fmt.Sprintf("%v is not a known system priority class", class.Name)
}

// ValidatePriorityClassUpdate checks an update of a PriorityClass: pods have copied its value.
func ValidatePriorityClassUpdate(class, before *schedulingv1.PriorityClass) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&class.ObjectMeta, &before.ObjectMeta))
	if class.Value != before.Value {
		l.Forbidden(field.NewPath("value"), "may not be changed in an update.")
	}
	l.Add(check.Immutable(field.NewPath("preemptionPolicy"), class.PreemptionPolicy, before.PreemptionPolicy))
	return l.Errors()
}
