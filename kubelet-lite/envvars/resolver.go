// SPDX-License-Identifier: Apache-2.0

package envvars

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
)

// Objects is where ConfigMaps and Secrets come from.
type Objects interface {
	GetConfigMap(namespace, name string) (*v1.ConfigMap, error)
	GetSecret(namespace, name string) (*v1.Secret, error)
}

// Var is one variable.
type Var struct{ Name, Value string }

// Resolver computes environments.
type Resolver struct {
	Objects        Objects
	Services       corelisters.ServiceLister
	ServicesSynced func() bool
	HostIPs        []string
	Allocatable    func() v1.ResourceList
}

// Environment returns a container's variables: those it declares in their order, then those of envFrom and Services by
// name. volumes maps the pod's volumes to their paths on this machine, for variables that are read from files.
func (r *Resolver) Environment(pod *v1.Pod, container *v1.Container, podIPs []string, volumes map[string]string) ([]Var, error) {
	if r.ServicesSynced != nil && !r.ServicesSynced() {
		return nil, errors.New("services have not yet been read at least once, cannot construct envvars")
	}
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	services, err := serviceVariables(r.Services, pod.Namespace, links)
	if err != nil {
		return nil, err
	}
	s := scope{resolver: r, pod: pod, container: container, podIPs: podIPs, volumes: volumes, services: services, values: map[string]string{}}
	for _, from := range container.EnvFrom {
		if err := s.addFrom(from); err != nil {
			return nil, err
		}
	}
	var order []string
	for _, env := range container.Env {
		value, present, err := s.value(env)
		if err != nil {
			return nil, err
		}
		if !present {
			continue
		}
		if !slices.Contains(order, env.Name) {
			order = append(order, env.Name)
		}
		s.values[env.Name] = value
	}
	result := make([]Var, 0, len(s.values)+len(services))
	for _, name := range order {
		result = append(result, Var{name, s.values[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		if !slices.Contains(order, name) {
			result = append(result, Var{name, s.values[name]})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if _, taken := s.values[name]; !taken {
			result = append(result, Var{name, services[name]})
		}
	}
	return result, nil
}

// scope is one computation: what has been resolved so far is what later variables may refer to.
type scope struct {
	resolver         *Resolver
	pod              *v1.Pod
	container        *v1.Container
	podIPs           []string
	volumes          map[string]string
	values, services map[string]string
}

func (s *scope) addFrom(from v1.EnvFromSource) error {
	switch {
	case from.ConfigMapRef != nil:
		object, err := s.resolver.Objects.GetConfigMap(s.pod.Namespace, from.ConfigMapRef.Name)
		if err != nil {
			return unlessOptional(err, from.ConfigMapRef.Optional)
		}
		for key, value := range object.Data {
			s.values[from.Prefix+key] = value
		}
	case from.SecretRef != nil:
		object, err := s.resolver.Objects.GetSecret(s.pod.Namespace, from.SecretRef.Name)
		if err != nil {
			return unlessOptional(err, from.SecretRef.Optional)
		}
		for key, value := range object.Data {
			s.values[from.Prefix+key] = string(value)
		}
	}
	return nil
}

// value resolves one variable; present is false where an optional source is absent.
func (s *scope) value(env v1.EnvVar) (value string, present bool, err error) {
	if env.Value != "" || env.ValueFrom == nil {
		return Expand(env.Value, s.lookup), true, nil
	}
	from := env.ValueFrom
	switch {
	case from.FieldRef != nil:
		value, err = PodField(s.pod, from.FieldRef.FieldPath, s.resolver.HostIPs, s.podIPs)
		return value, true, err
	case from.ResourceFieldRef != nil:
		var allocatable v1.ResourceList
		if s.resolver.Allocatable != nil {
			allocatable = s.resolver.Allocatable()
		}
		name := from.ResourceFieldRef.ContainerName
		if name == "" {
			name = s.container.Name
		}
		value, err = volume.ResourceValue(s.pod, from.ResourceFieldRef, name, allocatable)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		object, err := s.resolver.Objects.GetConfigMap(s.pod.Namespace, ref.Name)
		if err != nil {
			return "", false, unlessOptional(err, ref.Optional)
		}
		value, ok := object.Data[ref.Key]
		if !ok && !isTrue(ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, s.pod.Namespace, ref.Name)
		}
		return value, ok, nil
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		object, err := s.resolver.Objects.GetSecret(s.pod.Namespace, ref.Name)
		if err != nil {
			return "", false, unlessOptional(err, ref.Optional)
		}
		value, ok := object.Data[ref.Key]
		if !ok && !isTrue(ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, s.pod.Namespace, ref.Name)
		}
		return string(value), ok, nil
	case from.FileKeyRef != nil:
		return s.fromFile(from.FileKeyRef)
	}
	return "", true, nil
}

// fromFile reads NAME=value lines from a file of one of the pod's volumes (KEP-3721).
func (s *scope) fromFile(ref *v1.FileKeySelector) (string, bool, error) {
	dir, ok := s.volumes[ref.VolumeName]
	if !ok {
		return "", false, fmt.Errorf("cannot find the volume %q referenced by FileKeyRef", ref.VolumeName)
	}
	root, err := os.OpenRoot(dir) // the file must not lead out of its volume
	if err != nil {
		return "", false, fmt.Errorf("couldn't parse env file")
	}
	defer root.Close()
	content, err := root.ReadFile(filepath.Clean(ref.Path))
	if err != nil && !isTrue(ref.Optional) {
		return "", false, fmt.Errorf("couldn't parse env file")
	}
	for line := range strings.Lines(string(content)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") || strings.TrimSpace(name) != ref.Key {
			continue
		}
		value = strings.TrimSpace(value)
		if len(value) >= 2 && (value[0] == '\'' || value[0] == '"') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
		}
		return value, true, nil
	}
	if isTrue(ref.Optional) {
		return "", false, nil
	}
	return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, filepath.Join(dir, ref.Path))
}

func (s *scope) lookup(name string) (string, bool) {
	if value, ok := s.values[name]; ok {
		return value, true
	}
	value, ok := s.services[name]
	return value, ok
}

func unlessOptional(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && isTrue(optional) {
		return nil
	}
	return err
}

func isTrue(b *bool) bool { return b != nil && *b }
