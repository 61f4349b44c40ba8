// SPDX-License-Identifier: Apache-2.0

// Package deployment moves the pods of a Deployment from one template to the next: it makes one ReplicaSet a template
// and shifts replicas between them, within what maxSurge and maxUnavailable allow.
//
// A sync reads the ReplicaSets of the Deployment from the cache, decides (revision.go, rollout.go, status.go: pure
// functions), and writes what changed: a few ReplicaSets at most and one status. It looks at the ReplicaSets of the
// namespace once, and at pods for the Recreate strategy alone.
package deployment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/controllers/internal/owner"
	"github.com/hivemind-project/hivemind/controllers/internal/podcontrol"
	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// Controller rolls Deployments out.
type Controller struct {
	client      kubernetes.Interface
	recorder    record.EventRecorder
	deployments appslisters.DeploymentLister
	sets        appslisters.ReplicaSetLister
	pods        cache.Indexer
	synced      []cache.InformerSynced
	loop        *loop.Loop
	now         func() time.Time
}

// New returns the controller. Its events are recorded with recorder.
func New(client kubernetes.Interface, deployments appsinformers.DeploymentInformer, sets appsinformers.ReplicaSetInformer, pods coreinformers.PodInformer, recorder record.EventRecorder) (*Controller, error) {
	c := &Controller{
		client:      client,
		recorder:    recorder,
		deployments: deployments.Lister(),
		sets:        sets.Lister(),
		pods:        pods.Informer().GetIndexer(),
		synced:      []cache.InformerSynced{deployments.Informer().HasSynced, sets.Informer().HasSynced, pods.Informer().HasSynced},
		now:         time.Now,
	}
	c.loop = loop.New("deployment", c.sync)
	errIndex := podcontrol.AddControllerIndex(pods.Informer())
	_, errDeployments := deployments.Informer().AddEventHandler(c.loop.Handler())
	_, errSets := sets.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.setSeen,
		UpdateFunc: func(old, cur any) { c.setMoved(old, cur); c.setSeen(cur) },
		DeleteFunc: c.setSeen,
	})
	_, errPods := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: c.podGone})
	return c, errors.Join(errIndex, errDeployments, errSets, errPods)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced...) }

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	seen, err := c.deployments.Deployments(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	d := seen.DeepCopy()
	if equality.Semantic.DeepEqual(d.Spec.Selector, &metav1.LabelSelector{}) {
		c.recorder.Event(d, corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		d.Status.ObservedGeneration = max(d.Status.ObservedGeneration, d.Generation)
		return c.writeStatus(ctx, seen, d)
	}
	sets, err := c.claim(ctx, d)
	if err != nil {
		return err
	}
	r := split(d, sets)
	if d.DeletionTimestamp != nil {
		d.Status = r.status(c.now())
		return c.writeStatus(ctx, seen, d)
	}
	markPaused(d, c.now())
	if err := c.syncNewest(ctx, r); err != nil {
		return err
	}
	if d.Spec.Paused || r.resized() {
		return c.resize(ctx, seen, r)
	}
	return c.rollOut(ctx, seen, r)
}

// resize brings the ReplicaSets to the Deployment's new size without shifting replicas between them.
func (c *Controller) resize(ctx context.Context, seen *appsv1.Deployment, r *rollout) error {
	if err := c.apply(ctx, r, r.proportional()); err != nil {
		return err
	}
	if r.d.Spec.Paused {
		if err := c.removeOld(ctx, r); err != nil {
			return err
		}
	}
	r.d.Status = r.status(c.now())
	return c.writeStatus(ctx, seen, r.d)
}

// rollOut takes the next step towards the current template.
func (c *Controller) rollOut(ctx context.Context, seen *appsv1.Deployment, r *rollout) error {
	var steps []scaling
	switch r.d.Spec.Strategy.Type {
	case appsv1.RecreateDeploymentStrategyType:
		steps = r.stopOld()
		if len(steps) > 0 || c.oldPodsRun(r) {
			break
		}
		if err := c.create(ctx, seen, r); err != nil || r.newest == nil {
			return err
		}
		steps = r.startNewest()
	case appsv1.RollingUpdateDeploymentStrategyType:
		if err := c.create(ctx, seen, r); err != nil || r.newest == nil {
			return err
		}
		steps = r.rolling()
	default:
		return fmt.Errorf("unexpected deployment strategy type: %s", r.d.Spec.Strategy.Type)
	}
	if err := c.apply(ctx, r, steps); err != nil {
		return err
	}
	if len(steps) == 0 && complete(r.d, &r.d.Status) {
		if err := c.removeOld(ctx, r); err != nil {
			return err
		}
	}
	status, wait := r.progress(c.now())
	r.d.Status = status
	if wait > 0 {
		c.loop.EnqueueAfter(r.d, wait)
	}
	return c.writeStatus(ctx, seen, r.d)
}

// claim returns the ReplicaSets of d after adopting and releasing.
func (c *Controller) claim(ctx context.Context, d *appsv1.Deployment) ([]*appsv1.ReplicaSet, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("deployment %s/%s has invalid label selector: %w", d.Namespace, d.Name, err)
	}
	sets, err := c.sets.ReplicaSets(d.Namespace).List(labels.Everything())
	if err != nil {
		return nil, err
	}
	claimer := owner.Claimer[*appsv1.ReplicaSet]{
		Owner: d, Kind: kind, Selector: selector,
		Live: func(ctx context.Context) (metav1.Object, error) {
			return c.client.AppsV1().Deployments(d.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
		},
		Patch: func(ctx context.Context, rs *appsv1.ReplicaSet, patch []byte) error {
			_, err := c.client.AppsV1().ReplicaSets(rs.Namespace).Patch(ctx, rs.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			return err
		},
	}
	return claimer.Claim(ctx, sets)
}

// syncNewest brings annotations, revision and minReadySeconds of the newest ReplicaSet up to date, where there is one.
func (c *Controller) syncNewest(ctx context.Context, r *rollout) error {
	if r.newest == nil {
		return nil
	}
	if rs, changed := r.annotated(); changed {
		updated, err := c.client.AppsV1().ReplicaSets(rs.Namespace).Update(ctx, rs, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("update replica set %s/%s: %w", rs.Namespace, rs.Name, err)
		}
		r.newest = updated
	}
	r.adoptRevision()
	if hasDeadline(r.d) && condition(&r.d.Status, appsv1.DeploymentProgressing) == nil {
		setCondition(&r.d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, ReasonFoundNewReplicaSet,
			fmt.Sprintf("Found new replica set %q", r.newest.Name), c.now())
	}
	return nil
}

// create makes the ReplicaSet of the current template unless it exists. Where its name is taken by another, the collision
// count that goes into the name's hash is raised and r.newest stays nil: the next sync tries again.
func (c *Controller) create(ctx context.Context, seen *appsv1.Deployment, r *rollout) error {
	if r.newest != nil {
		return nil
	}
	d, rs := r.d, r.newReplicaSet()
	created, err := c.client.AppsV1().ReplicaSets(d.Namespace).Create(ctx, rs, metav1.CreateOptions{})
	switch {
	case err == nil:
		if size := *created.Spec.Replicas; size > 0 {
			c.recorder.Eventf(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from 0 to %d", created.Name, size)
		}
		if hasDeadline(d) {
			setCondition(&d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, ReasonNewReplicaSet,
				fmt.Sprintf("Created new replica set %q", created.Name), c.now())
		}
	case apierrors.IsAlreadyExists(err):
		created, err = c.client.AppsV1().ReplicaSets(d.Namespace).Get(ctx, rs.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read replica set %s/%s: %w", d.Namespace, rs.Name, err)
		}
		if !metav1.IsControlledBy(created, d) || !sameTemplate(&d.Spec.Template, &created.Spec.Template) {
			collisions := int32(1)
			if d.Status.CollisionCount != nil {
				collisions += *d.Status.CollisionCount
			}
			d.Status.CollisionCount = &collisions
			return c.writeStatus(ctx, seen, d)
		}
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return err
	default:
		message := fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, err)
		c.recorder.Event(d, corev1.EventTypeWarning, ReasonFailedCreate, message)
		err = fmt.Errorf("create replica set %s/%s: %w", d.Namespace, rs.Name, err)
		if !hasDeadline(d) {
			return err
		}
		setCondition(&d.Status, appsv1.DeploymentProgressing, corev1.ConditionFalse, ReasonFailedCreate, message, c.now())
		return errors.Join(err, c.writeStatus(ctx, seen, d))
	}
	r.newest = created
	r.adoptRevision()
	return nil
}

// apply writes the sizes, and puts what the server answered in place of what was read.
func (c *Controller) apply(ctx context.Context, r *rollout, steps []scaling) error {
	for _, step := range steps {
		from := *step.rs.Spec.Replicas
		rs := step.rs.DeepCopy()
		rs.Spec.Replicas = &step.to
		setSizeAnnotations(rs, r.d)
		updated, err := c.client.AppsV1().ReplicaSets(rs.Namespace).Update(ctx, rs, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("scale replica set %s/%s from %d to %d: %w", rs.Namespace, rs.Name, from, step.to, err)
		}
		r.replace(updated)
		if from != step.to {
			direction := "up"
			if step.to < from {
				direction = "down"
			}
			c.recorder.Eventf(r.d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d", direction, rs.Name, from, step.to)
		}
	}
	return nil
}

// removeOld deletes ReplicaSets past the history limit.
func (c *Controller) removeOld(ctx context.Context, r *rollout) error {
	for _, rs := range r.expired() {
		err := c.client.AppsV1().ReplicaSets(rs.Namespace).Delete(ctx, rs.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete replica set %s/%s: %w", rs.Namespace, rs.Name, err)
		}
	}
	return nil
}

// oldPodsRun reports whether pods of other ReplicaSets than the newest have not ended.
func (c *Controller) oldPodsRun(r *rollout) bool {
	for _, rs := range r.old {
		if rs.Status.Replicas > 0 {
			return true
		}
		pods, err := podcontrol.Owned(c.pods, rs)
		if err != nil || slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return !podstate.Terminal(p) }) {
			return true
		}
	}
	return false
}

// writeStatus stores status and revision of d if they differ from those seen.
func (c *Controller) writeStatus(ctx context.Context, seen, d *appsv1.Deployment) error {
	if equality.Semantic.DeepEqual(seen.Status, d.Status) && seen.Annotations[RevisionAnnotation] == d.Annotations[RevisionAnnotation] {
		return nil
	}
	_, err := c.client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) { // deleted meanwhile is no failure
		return fmt.Errorf("update status of deployment %s/%s: %w", d.Namespace, d.Name, err)
	}
	return nil
}

// setSeen wakes the Deployment of a ReplicaSet, or those that may adopt it.
func (c *Controller) setSeen(obj any) {
	rs, ok := loop.Object[*appsv1.ReplicaSet](obj)
	if !ok {
		return
	}
	if ref := metav1.GetControllerOfNoCopy(rs); ref != nil {
		c.enqueueOwner(rs.Namespace, ref)
		return
	}
	if len(rs.Labels) == 0 {
		return
	}
	all, err := c.deployments.Deployments(rs.Namespace).List(labels.Everything())
	if err != nil {
		return
	}
	for _, d := range all {
		if owner.MayAdopt(d.Spec.Selector, rs.Labels) {
			c.loop.Enqueue(d)
		}
	}
}

// setMoved wakes the Deployment that a ReplicaSet belonged to before.
func (c *Controller) setMoved(old, cur any) {
	before, ok1 := loop.Object[*appsv1.ReplicaSet](old)
	after, ok2 := loop.Object[*appsv1.ReplicaSet](cur)
	if !ok1 || !ok2 {
		return
	}
	if was := owner.Left(before, after); was != nil {
		c.enqueueOwner(before.Namespace, was)
	}
}

// podGone wakes a Deployment that waits for its old pods to end before it makes new ones.
func (c *Controller) podGone(obj any) {
	pod, ok := loop.Object[*corev1.Pod](obj)
	if !ok {
		return
	}
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != "ReplicaSet" {
		return
	}
	rs, err := c.sets.ReplicaSets(pod.Namespace).Get(ref.Name)
	if err != nil || rs.UID != ref.UID {
		return
	}
	ref = metav1.GetControllerOfNoCopy(rs)
	if ref == nil {
		return
	}
	d, err := c.deployments.Deployments(pod.Namespace).Get(ref.Name)
	if err == nil && d.UID == ref.UID && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		c.loop.Enqueue(d)
	}
}

func (c *Controller) enqueueOwner(namespace string, ref *metav1.OwnerReference) {
	if ref.Kind != kind.Kind {
		return
	}
	if d, err := c.deployments.Deployments(namespace).Get(ref.Name); err == nil && d.UID == ref.UID {
		c.loop.Enqueue(d)
	}
}
