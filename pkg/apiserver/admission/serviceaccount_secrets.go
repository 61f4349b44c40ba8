// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/hivemind-project/hivemind/pkg/auth/node"
)

// enforceMountableSecrets is an annotation of ServiceAccounts whose pods may refer to no Secrets but those that the account names.
const enforceMountableSecrets = "kubernetes.io/enforce-mountable-secrets"

// checkMirrorPod keeps what a file on a node describes from opening objects of the API to that node.
func checkMirrorPod(pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return errors.New("a mirror pod may not reference service accounts")
	}
	if node.AnySecret(pod, func(string) bool { return true }) {
		return errors.New("a mirror pod may not reference secrets")
	}
	for i := range pod.Spec.Volumes {
		p := pod.Spec.Volumes[i].Projected
		if p != nil && slices.ContainsFunc(p.Sources, func(s corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil }) {
			return errors.New("a mirror pod may not use ServiceAccountToken volume projections")
		}
	}
	return nil
}

// limit refuses a pod that refers to Secrets that its account does not name, where the account asks for that. Of a pod that gets
// ephemeral containers these alone are looked at.
func (p *ServiceAccount) limit(a admission.Attributes, account *corev1.ServiceAccount, pod *corev1.Pod) error {
	if enforce, _ := strconv.ParseBool(account.Annotations[enforceMountableSecrets]); !enforce { // what is neither true nor false is false
		return nil
	}
	named := func(secret string) bool {
		return slices.ContainsFunc(account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == secret })
	}
	if a.GetSubresource() == "ephemeralcontainers" {
		for i := range pod.Spec.EphemeralContainers {
			c := &pod.Spec.EphemeralContainers[i]
			if err := limitContainer("ephemeral container", c.Name, c.Env, c.EnvFrom, account.Name, named); err != nil {
				return err // without more: kube-apiserver answers so too
			}
		}
		return nil
	}
	if err := limitPod(account, pod, named); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

func limitPod(account *corev1.ServiceAccount, pod *corev1.Pod, named func(string) bool) error {
	for i := range pod.Spec.Volumes {
		if secret := pod.Spec.Volumes[i].Secret; secret != nil && !named(secret.SecretName) {
			return fmt.Errorf("volume with secret.secretName=%q is not allowed because service account %s does not reference that secret", secret.SecretName, account.Name)
		}
	}
	for _, containers := range []struct {
		what string
		list []corev1.Container
	}{{"init container", pod.Spec.InitContainers}, {"container", pod.Spec.Containers}} {
		for i := range containers.list {
			c := &containers.list[i]
			if err := limitContainer(containers.what, c.Name, c.Env, c.EnvFrom, account.Name, named); err != nil {
				return err
			}
		}
	}
	for i, ref := range pod.Spec.ImagePullSecrets {
		if !slices.Contains(account.ImagePullSecrets, ref) {
			return fmt.Errorf("imagePullSecrets[%d].name=%q is not allowed because service account %s does not reference that imagePullSecret", i, ref.Name, account.Name)
		}
	}
	return nil
}

func limitContainer(what, name string, env []corev1.EnvVar, envFrom []corev1.EnvFromSource, account string, named func(string) bool) error {
	for i := range env {
		if from := env[i].ValueFrom; from != nil && from.SecretKeyRef != nil && !named(from.SecretKeyRef.Name) {
			return fmt.Errorf("%s %s with envVar %s referencing secret.secretName=%q is not allowed because service account %s does not reference that secret",
				what, name, env[i].Name, from.SecretKeyRef.Name, account)
		}
	}
	for i := range envFrom {
		if ref := envFrom[i].SecretRef; ref != nil && !named(ref.Name) {
			return fmt.Errorf("%s %s with envFrom referencing secret.secretName=%q is not allowed because service account %s does not reference that secret",
				what, name, ref.Name, account)
		}
	}
	return nil
}
