// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// Objects that the server itself keeps as they should be.

func ensureService(ctx context.Context, client kubernetes.Interface, want *corev1.Service) error {
	services := client.CoreV1().Services(want.Namespace)
	old, err := services.Get(ctx, want.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = services.Create(ctx, want, metav1.CreateOptions{})
	case err == nil && old.Spec.ClusterIP != want.Spec.ClusterIP:
		// The network was configured anew. An address cannot be changed, so the service is made again.
		if err = services.Delete(ctx, want.Name, metav1.DeleteOptions{}); err == nil {
			_, err = services.Create(ctx, want, metav1.CreateOptions{})
		}
	case err == nil && !apiequality.Semantic.DeepEqual(old.Spec.Ports, want.Spec.Ports):
		old.Spec.Ports = want.Spec.Ports
		_, err = services.Update(ctx, old, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("make service %s/%s: %w", want.Namespace, want.Name, err)
	}
	return nil
}

func ensureEndpoints(ctx context.Context, client kubernetes.Interface, want *corev1.Endpoints) error {
	endpoints := client.CoreV1().Endpoints(want.Namespace)
	old, err := endpoints.Get(ctx, want.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = endpoints.Create(ctx, want, metav1.CreateOptions{})
	case err == nil && !apiequality.Semantic.DeepEqual(old.Subsets, want.Subsets):
		old.Subsets = want.Subsets
		_, err = endpoints.Update(ctx, old, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("make endpoints %s/%s: %w", want.Namespace, want.Name, err)
	}
	return nil
}

func ensureSlice(ctx context.Context, client kubernetes.Interface, want *discoveryv1.EndpointSlice) error {
	slices := client.DiscoveryV1().EndpointSlices(want.Namespace)
	old, err := slices.Get(ctx, want.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = slices.Create(ctx, want, metav1.CreateOptions{})
	case err == nil && !(apiequality.Semantic.DeepEqual(old.Endpoints, want.Endpoints) && apiequality.Semantic.DeepEqual(old.Ports, want.Ports)):
		old.Endpoints, old.Ports = want.Endpoints, want.Ports
		_, err = slices.Update(ctx, old, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("make endpoint slice %s/%s: %w", want.Namespace, want.Name, err)
	}
	return nil
}

// ensureData leaves keys of the ConfigMap alone that want does not have.
func ensureData(ctx context.Context, client kubernetes.Interface, namespace, name string, want map[string]string) error {
	configMaps := client.CoreV1().ConfigMaps(namespace)
	old, err := configMaps.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = configMaps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: want}, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	data := maps.Clone(old.Data)
	if data == nil {
		data = map[string]string{}
	}
	maps.Copy(data, want)
	if maps.Equal(data, old.Data) {
		return nil
	}
	old.Data = data
	_, err = configMaps.Update(ctx, old, metav1.UpdateOptions{})
	return err
}

func targetPort(n int32) intstr.IntOrString { return intstr.FromInt32(n) }
