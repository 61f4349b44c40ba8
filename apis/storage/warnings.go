// SPDX-License-Identifier: Apache-2.0

// This file holds what is said about objects that are valid but not what their authors will want.

package storage

import (
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// WarningsStorageClass returns what is to be said about a storage class.
func WarningsStorageClass(c, _ *storagev1.StorageClass) []string {
	var w check.Warnings
	for i, topology := range c.AllowedTopologies {
		for j, expression := range topology.MatchLabelExpressions {
			if message := core.DeprecatedNodeLabel(expression.Key); message != "" {
				w.At(field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j).Child("key"), "%s", message)
			}
		}
	}
	return w.Texts()
}

// WarningsCSIStorageCapacity returns what is to be said about what storage there is where.
func WarningsCSIStorageCapacity(c, _ *storagev1.CSIStorageCapacity) []string {
	var w check.Warnings
	if c.NodeTopology == nil {
		return nil
	}
	p := field.NewPath("nodeTopology")
	for i, expression := range c.NodeTopology.MatchExpressions {
		if message := core.DeprecatedNodeLabel(expression.Key); message != "" {
			w.At(p.Child("matchExpressions").Index(i).Child("key"), "%s is %s", expression.Key, message)
		}
	}
	for key := range c.NodeTopology.MatchLabels {
		if message := core.DeprecatedNodeLabel(key); message != "" {
			w.At(p.Child("matchLabels").Child(key), "%s", message)
		}
	}
	return w.Texts()
}

// WarningsCSIDriver returns what is to be said about a driver that asks for tokens, when it first does or asks for others.
func WarningsCSIDriver(d, before *storagev1.CSIDriver) []string {
	if len(d.Spec.TokenRequests) == 0 || d.Spec.ServiceAccountTokenInSecrets != nil || before != nil && apiequality.Semantic.DeepEqual(d.Spec.TokenRequests, before.Spec.TokenRequests) {
		return nil
	}
	return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"}
}
