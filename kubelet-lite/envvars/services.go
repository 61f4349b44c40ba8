// SPDX-License-Identifier: Apache-2.0

package envvars

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// serviceVariables returns the variables that announce Services to a container: always that of the API server, and, where
// service links are on, those of the pod's own namespace.
func serviceVariables(lister corelisters.ServiceLister, namespace string, links bool) (map[string]string, error) {
	vars := map[string]string{}
	if lister == nil {
		return vars, nil
	}
	if !links || namespace != metaDefault {
		if s, err := lister.Services(metaDefault).Get("kubernetes"); err == nil {
			addService(vars, s)
		}
	}
	if !links {
		return vars, nil
	}
	services, err := lister.Services(namespace).List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("failed to list services when setting up env vars: %w", err)
	}
	for _, s := range services {
		addService(vars, s)
	}
	return vars, nil
}

const metaDefault = v1.NamespaceDefault

// addService writes NAME_SERVICE_HOST and its kin, and the variables that Docker links used to bring.
func addService(vars map[string]string, s *v1.Service) {
	if s.Spec.ClusterIP == "" || s.Spec.ClusterIP == v1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	prefix := variable(s.Name)
	vars[prefix+"_SERVICE_HOST"] = s.Spec.ClusterIP
	vars[prefix+"_SERVICE_PORT"] = strconv.Itoa(int(s.Spec.Ports[0].Port))
	for i, p := range s.Spec.Ports {
		port := strconv.Itoa(int(p.Port))
		if p.Name != "" {
			vars[prefix+"_SERVICE_PORT_"+variable(p.Name)] = port
		}
		protocol := string(p.Protocol)
		if protocol == "" {
			protocol = "TCP"
		}
		url := strings.ToLower(protocol) + "://" + net.JoinHostPort(s.Spec.ClusterIP, port)
		if i == 0 {
			vars[prefix+"_PORT"] = url
		}
		link := prefix + "_PORT_" + port + "_" + strings.ToUpper(protocol)
		vars[link] = url
		vars[link+"_PROTO"] = strings.ToLower(protocol)
		vars[link+"_PORT"] = port
		vars[link+"_ADDR"] = s.Spec.ClusterIP
	}
}

func variable(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
