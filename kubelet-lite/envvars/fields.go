// SPDX-License-Identifier: Apache-2.0

package envvars

import (
	"strings"

	v1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
)

// PodField returns the value of a pod's field as the downward API names it. Beyond the fields that volumes can have there are
// those that the object does not tell: addresses come from the host and the sandbox.
func PodField(pod *v1.Pod, path string, hostIPs, podIPs []string) (string, error) {
	switch path {
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(hostIPs), nil
	case "status.hostIPs":
		return strings.Join(hostIPs, ","), nil
	case "status.podIP":
		return first(podIPs), nil
	case "status.podIPs":
		return strings.Join(podIPs, ","), nil
	}
	return volume.FieldValue(pod, path)
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
