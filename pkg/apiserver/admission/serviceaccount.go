// SPDX-License-Identifier: Apache-2.0

// Package admission holds the built-in plugins that change or refuse objects before they are stored. Each is named as in
// kube-apiserver and does what its namesake does. Cost: one look-up in an informer a write, no I/O but in the rare case that
// the informer has not heard yet.
package admission

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
)

const (
	// tokenMountPath is where containers find their credentials.
	tokenMountPath = "/var/run/secrets/kubernetes.io/serviceaccount"
	// tokenSeconds makes kubelets refresh tokens within the hour; the seven extra seconds mark it as the default (KEP-1205).
	tokenSeconds = 60*60 + 7
	// rootCAConfigMap has the cluster's CA in every namespace.
	rootCAConfigMap = "kube-root-ca.crt"
	mirrorPod       = "kubernetes.io/config.mirror"
)

// ServiceAccount gives pods their ServiceAccount, its pull secrets, and a volume with its token.
type ServiceAccount struct {
	*admission.Handler
	client   kubernetes.Interface
	accounts corelisters.ServiceAccountLister
}

// NewServiceAccount returns the plugin. client reads accounts that the lister has not heard of yet.
func NewServiceAccount(client kubernetes.Interface, accounts corelisters.ServiceAccountLister) *ServiceAccount {
	return &ServiceAccount{admission.NewHandler(admission.Create, admission.Update), client, accounts}
}

// Admit implements admission.MutationInterface.
func (p *ServiceAccount) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	pod, ok := newPodOf(a)
	if !ok {
		return nil
	}
	if _, mirror := pod.Annotations[mirrorPod]; mirror {
		return p.Validate(ctx, a, o)
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	account, err := p.account(ctx, a.GetNamespace(), pod.Spec.ServiceAccountName)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), pod.Spec.ServiceAccountName, err))
	}
	if mountsToken(account, pod) {
		mountToken(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return p.limit(a, account, pod)
}

// Validate implements admission.ValidationInterface.
func (p *ServiceAccount) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := newPodOf(a)
	if !ok && a.GetResource().GroupResource() == corev1.Resource("pods") && a.GetSubresource() == "ephemeralcontainers" && a.GetOperation() == admission.Update {
		pod, ok = a.GetObject().(*corev1.Pod)
	}
	if !ok {
		return nil
	}
	if _, mirror := pod.Annotations[mirrorPod]; mirror && a.GetOperation() == admission.Create {
		if err := checkMirrorPod(pod); err != nil {
			return admission.NewForbidden(a, err)
		}
		return nil
	}
	if pod.Spec.ServiceAccountName == "" {
		return admission.NewForbidden(a, fmt.Errorf("no service account specified for pod %s/%s", a.GetNamespace(), pod.Name))
	}
	account, err := p.account(ctx, a.GetNamespace(), pod.Spec.ServiceAccountName)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), pod.Spec.ServiceAccountName, err))
	}
	return p.limit(a, account, pod)
}

// newPodOf returns the pod that is being created.
func newPodOf(a admission.Attributes) (*corev1.Pod, bool) {
	if a.GetResource().GroupResource() != corev1.Resource("pods") || a.GetSubresource() != "" || a.GetOperation() != admission.Create {
		return nil, false
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	return pod, ok
}

// account reads a ServiceAccount. A namespace's default one is made by a controller shortly after the namespace: a pod that
// comes in between is told that it is not there, and its controller tries again.
func (p *ServiceAccount) account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	account, err := p.accounts.ServiceAccounts(namespace).Get(name)
	if !apierrors.IsNotFound(err) {
		return account, err
	}
	for attempt := 1; ; attempt++ {
		account, err = p.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return account, err
		}
		if name != defaultAccount || attempt == attempts {
			return nil, apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
		}
		select {
		case <-time.After(betweenAttempts):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Every namespace gets an account named default a moment after it was made; a Pod that is as early waits for it, as in Kubernetes.
const (
	defaultAccount  = "default"
	attempts        = 10
	betweenAttempts = 100 * time.Millisecond
)

func mountsToken(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	if pod.Spec.AutomountServiceAccountToken != nil {
		return *pod.Spec.AutomountServiceAccountToken
	}
	return account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken
}

// mountToken mounts the token into every container that has nothing at its path yet.
func mountToken(pod *corev1.Pod) {
	name := ""
	for _, v := range pod.Spec.Volumes {
		if len(v.Name) > len("kube-api-access-") && v.Name[:len("kube-api-access-")] == "kube-api-access-" {
			name = v.Name
		}
	}
	exists := name != ""
	if !exists {
		name = names.SimpleNameGenerator.GenerateName("kube-api-access-")
	}
	mount := corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMountPath}
	needed := false
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == tokenMountPath }) {
				c.VolumeMounts = append(c.VolumeMounts, mount)
				needed = true
			}
		}
	}
	if needed && !exists {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: tokenVolume()}})
	}
}

// tokenVolume is the token, the CA to check the API server by, and the pod's namespace.
func tokenVolume() *corev1.ProjectedVolumeSource {
	mode, seconds := corev1.ProjectedVolumeSourceDefaultMode, int64(tokenSeconds)
	return &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: rootCAConfigMap},
				Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
		},
	}
}

var (
	_ admission.MutationInterface   = (*ServiceAccount)(nil)
	_ admission.ValidationInterface = (*ServiceAccount)(nil)
)
