// SPDX-License-Identifier: Apache-2.0

// Package podcontrol is how workload controllers find, create and delete the pods of an owner, with the events that
// users see in `kubectl describe`, and in which order they give up pods. Finding goes by an index on the owner and costs
// the owner's pods, not those of the cluster.
package podcontrol

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
)

// Reasons of the events that tell of pods created and deleted.
const (
	ReasonSuccessfulCreate = "SuccessfulCreate"
	ReasonFailedCreate     = "FailedCreate"
	ReasonSuccessfulDelete = "SuccessfulDelete"
	ReasonFailedDelete     = "FailedDelete"
)

// inFlight is how many requests a batch keeps under way. More would not be faster, since they wait for the same disk
// and the same cores, but would each take memory.
const inFlight = 64

// Owner is a workload object that events are recorded on.
type Owner interface {
	runtime.Object
	metav1.Object
}

// Control creates and deletes pods.
type Control struct {
	Client   kubernetes.Interface
	Recorder record.EventRecorder
}

// FromTemplate is the pod that the template describes, controlled by ref, with a name generated from the owner's.
func FromTemplate(template *corev1.PodTemplateSpec, owner metav1.Object, ref *metav1.OwnerReference) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			GenerateName:    owner.GetName() + "-",
			Labels:          maps.Clone(template.Labels),
			Annotations:     maps.Clone(template.Annotations),
			Finalizers:      slices.Clone(template.Finalizers),
			OwnerReferences: []metav1.OwnerReference{*ref},
		},
		Spec: *template.Spec.DeepCopy(),
	}
}

// Create creates the pod and records the outcome on the owner. A refusal because the namespace is going away makes no
// event: none could be stored.
func (c Control) Create(ctx context.Context, owner Owner, pod *corev1.Pod) (*corev1.Pod, error) {
	if len(pod.Labels) == 0 {
		return nil, errors.New("unable to create pods, no labels")
	}
	created, err := c.Client.CoreV1().Pods(owner.GetNamespace()).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			c.Recorder.Eventf(owner, corev1.EventTypeWarning, ReasonFailedCreate, "Error creating: %v", err)
		}
		return nil, err
	}
	c.Recorder.Eventf(owner, corev1.EventTypeNormal, ReasonSuccessfulCreate, "Created pod: %v", created.Name)
	return created, nil
}

// Delete deletes the pod and records the outcome on the owner. A pod that is gone already is returned as a NotFound
// error and makes no event.
func (c Control) Delete(ctx context.Context, owner Owner, pod *corev1.Pod) error {
	// The UID keeps a stale cache from deleting another pod by the same name.
	options := metav1.DeleteOptions{}
	if pod.UID != "" {
		options.Preconditions = metav1.NewUIDPreconditions(string(pod.UID))
	}
	err := c.Client.CoreV1().Pods(owner.GetNamespace()).Delete(ctx, pod.Name, options)
	switch {
	case err == nil:
		c.Recorder.Eventf(owner, corev1.EventTypeNormal, ReasonSuccessfulDelete, "Deleted pod: %v", pod.Name)
		return nil
	case apierrors.IsNotFound(err):
		return err
	default:
		c.Recorder.Eventf(owner, corev1.EventTypeWarning, ReasonFailedDelete, "Error deleting: %v", err)
		return fmt.Errorf("unable to delete pods: %w", err)
	}
}

// Patch sends a strategic merge patch to the pod.
func (c Control) Patch(ctx context.Context, pod *corev1.Pod, patch []byte) error {
	_, err := c.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

// SlowStart calls do for 0 to n-1, in batches of 1, 2, 4, … that run at once, and stops after the first batch with a
// failure: where the first pod is refused, for quota say, the other four hundred are not tried. It returns how many
// calls succeeded, and the first error.
func SlowStart(n int, do func(i int) error) (int, error) {
	done, succeeded := 0, 0
	for batch := min(n, 1); batch > 0; batch = min(2*batch, n-done) {
		errs := Parallel(batch, func(i int) error { return do(done + i) })
		done += batch
		succeeded += batch - len(errs)
		if len(errs) > 0 {
			return succeeded, errs[0]
		}
	}
	return succeeded, nil
}

// Parallel calls do for 0 to n-1, some at once, and returns the errors of those that failed.
func Parallel(n int, do func(i int) error) []error {
	if n == 1 {
		if err := do(0); err != nil {
			return []error{err}
		}
		return nil
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		next int
		errs []error
	)
	for range min(n, inFlight) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errs
}
