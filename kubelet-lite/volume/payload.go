// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

// defaultMode of files whose volume names none; the API server sets it, so it is seen in tests alone.
const defaultMode int32 = 0o644

// payload makes up the files of a configMap, secret, downwardAPI or projected volume.
func (m *Manager) payload(ctx context.Context, pod *v1.Pod, v *v1.Volume) (map[string]file, error) {
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		return m.configMap(pod, s.Name, s.Items, modeOr(s.DefaultMode, defaultMode), isTrue(s.Optional))
	case v.Secret != nil:
		s := v.Secret
		return m.secret(pod, s.SecretName, s.Items, modeOr(s.DefaultMode, defaultMode), isTrue(s.Optional))
	case v.DownwardAPI != nil:
		return m.downward(pod, v.DownwardAPI.Items, modeOr(v.DownwardAPI.DefaultMode, defaultMode))
	}
	return m.projected(ctx, pod, v.Projected)
}

func (m *Manager) configMap(pod *v1.Pod, name string, items []v1.KeyToPath, mode int32, optional bool) (map[string]file, error) {
	cm, err := m.Objects.GetConfigMap(pod.Namespace, name)
	if err != nil {
		if !optional || !apierrors.IsNotFound(err) {
			return nil, err
		}
		cm = &v1.ConfigMap{}
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, text := range cm.Data {
		data[k] = []byte(text)
	}
	maps.Copy(data, cm.BinaryData)
	return pick(data, items, mode, optional, "configmap references non-existent config key: %s")
}

func (m *Manager) secret(pod *v1.Pod, name string, items []v1.KeyToPath, mode int32, optional bool) (map[string]file, error) {
	s, err := m.Objects.GetSecret(pod.Namespace, name)
	if err != nil {
		if !optional || !apierrors.IsNotFound(err) {
			return nil, err
		}
		s = &v1.Secret{}
	}
	return pick(s.Data, items, mode, optional, "references non-existent secret key: %s")
}

// pick takes all keys, or the items named; a missing one is an error unless the source is optional.
func pick(data map[string][]byte, items []v1.KeyToPath, mode int32, optional bool, missing string) (map[string]file, error) {
	out := map[string]file{}
	if len(items) == 0 {
		for k, d := range data {
			out[k] = file{data: d, mode: mode}
		}
		return out, nil
	}
	for _, it := range items {
		d, ok := data[it.Key]
		if !ok {
			if optional {
				continue
			}
			return nil, fmt.Errorf(missing, it.Key)
		}
		out[path.Clean(it.Path)] = file{data: d, mode: modeOr(it.Mode, mode)}
	}
	return out, nil
}

func (m *Manager) downward(pod *v1.Pod, items []v1.DownwardAPIVolumeFile, mode int32) (map[string]file, error) {
	out := map[string]file{}
	var errs []error
	for _, it := range items {
		var text string
		var err error
		switch {
		case it.FieldRef != nil:
			text, err = FieldValue(pod, it.FieldRef.FieldPath)
		case it.ResourceFieldRef != nil:
			var allocatable v1.ResourceList
			if m.Allocatable != nil {
				allocatable = m.Allocatable()
			}
			text, err = ResourceValue(pod, it.ResourceFieldRef, it.ResourceFieldRef.ContainerName, allocatable)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out[path.Clean(it.Path)] = file{data: []byte(text), mode: modeOr(it.Mode, mode)}
	}
	return out, utilerrors.NewAggregate(errs)
}

// projected joins its sources, later ones before earlier; all that is wrong with them is told at once.
func (m *Manager) projected(ctx context.Context, pod *v1.Pod, p *v1.ProjectedVolumeSource) (map[string]file, error) {
	mode := modeOr(p.DefaultMode, defaultMode)
	out := map[string]file{}
	var errs []error
	for _, s := range p.Sources {
		var files map[string]file
		var err error
		switch {
		case s.Secret != nil:
			files, err = m.secret(pod, s.Secret.Name, s.Secret.Items, mode, isTrue(s.Secret.Optional))
		case s.ConfigMap != nil:
			files, err = m.configMap(pod, s.ConfigMap.Name, s.ConfigMap.Items, mode, isTrue(s.ConfigMap.Optional))
		case s.DownwardAPI != nil:
			files, err = m.downward(pod, s.DownwardAPI.Items, mode)
		case s.ServiceAccountToken != nil:
			files, err = m.token(ctx, pod, s.ServiceAccountToken, mode)
		case s.ClusterTrustBundle != nil:
			err = errors.New("ClusterTrustBundle projection is not supported in static kubelet mode")
		default:
			err = errors.New("projected volume source is not supported")
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		maps.Copy(out, files)
	}
	return out, utilerrors.NewAggregate(errs)
}

// token is a file that nobody but the pod's one user, or its group, can read where the pod says who they are.
func (m *Manager) token(ctx context.Context, pod *v1.Pod, p *v1.ServiceAccountTokenProjection, mode int32) (map[string]file, error) {
	spec := authv1.TokenRequestSpec{
		ExpirationSeconds: p.ExpirationSeconds,
		BoundObjectRef:    &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}
	if p.Audience != "" {
		spec.Audiences = []string{p.Audience}
	}
	text, err := m.Tokens.Get(ctx, pod.Namespace, pod.Spec.ServiceAccountName, spec)
	if err != nil {
		return nil, err
	}
	user := soleUser(pod)
	if user != nil || fsGroup(pod) != nil {
		mode = 0o600 // setGroup lets the group read
	}
	return map[string]file{path.Clean(p.Path): {data: []byte(text), mode: mode, user: user}}, nil
}

// soleUser is the user that every container of the pod runs as, nil where they differ or do not say.
func soleUser(pod *v1.Pod) *int64 {
	var fallback, out *int64
	if pod.Spec.SecurityContext != nil {
		fallback = pod.Spec.SecurityContext.RunAsUser
	}
	same := true
	see := func(sc *v1.SecurityContext) {
		user := fallback
		if sc != nil && sc.RunAsUser != nil {
			user = sc.RunAsUser
		}
		if user == nil || out != nil && *out != *user {
			same = false
			return
		}
		out = user
	}
	for i := range pod.Spec.InitContainers {
		see(pod.Spec.InitContainers[i].SecurityContext)
	}
	for i := range pod.Spec.Containers {
		see(pod.Spec.Containers[i].SecurityContext)
	}
	if !same {
		return nil
	}
	return out
}

func modeOr(mode *int32, fallback int32) int32 {
	if mode != nil {
		return *mode
	}
	return fallback
}

func isTrue(b *bool) bool { return b != nil && *b }
