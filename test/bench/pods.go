// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/hack/images/build"
)

const (
	image   = build.Public + "/busybox:1"
	crowd   = 100 // pods of the Deployment
	atOnce  = 8   // bare pods that start at a time
	allowed = 0.2 // seconds that a pod may take beyond the bare one
	factor  = 1.25
)

// pods measures one pod from its creation to Running as a watch sees it, and a Deployment of a hundred to all Ready, each against the same
// pods made by bare CRI calls in the same containerd.
func (b *bench) pods(ctx context.Context) (err error) {
	c, err := b.cluster("pods", 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reset(c)) }()
	if _, err := c.Up(ctx); err != nil {
		return err
	}
	if err := b.serve(ctx, c); err != nil {
		return err
	}
	client, err := clientFor(c)
	if err != nil {
		return err
	}
	cri, err := connect(c)
	if err != nil {
		return err
	}
	defer cri.Close()
	if _, err := timePod(ctx, client, "first"); err != nil { // pulls the image
		return err
	}

	one := row{what: "one pod, created to Running", unit: "s"}
	bareOne := row{what: "  bare CRI calls for it", unit: "s"}
	many := row{what: fmt.Sprintf("%d pods, created to all Ready", crowd), unit: "s"}
	bareMany := row{what: fmt.Sprintf("  bare CRI calls for them, %d at once", atOnce), unit: "s"}
	for i := range b.runs {
		took, err := cri.timePods(ctx, fmt.Sprintf("bare-%d", i), 1, 1)
		if err != nil {
			return err
		}
		bareOne.values = append(bareOne.values, took.Seconds())
		if took, err = timePod(ctx, client, fmt.Sprintf("pod-%d", i)); err != nil {
			return err
		}
		one.values = append(one.values, took.Seconds())
	}
	for i := range b.runs {
		took, err := cri.timePods(ctx, fmt.Sprintf("crowd-%d", i), crowd, atOnce)
		if err != nil {
			return err
		}
		bareMany.values = append(bareMany.values, took.Seconds())
		if took, err = timeDeployment(ctx, client, fmt.Sprintf("crowd-%d", i)); err != nil {
			return err
		}
		many.values = append(many.values, took.Seconds())
	}
	one.limit, one.note = bareOne.median()+allowed, fmt.Sprintf("bare + %.1f s", allowed)
	many.limit, many.note = bareMany.median()*factor, fmt.Sprintf("bare x %.2f", factor)
	b.rows = append(b.rows, one, bareOne, many, bareMany)
	return nil
}

func template(name string) v1.PodTemplateSpec {
	return v1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: v1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](0),
			Containers:                    []v1.Container{{Name: "main", Image: image, Command: []string{"sleep", "86400"}}},
		},
	}
}

// timePod creates a pod, waits until a watch shows it Running, and deletes it.
func timePod(ctx context.Context, client kubernetes.Interface, name string) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	pods := client.CoreV1().Pods(metav1.NamespaceDefault)
	events, err := pods.Watch(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil {
		return 0, err
	}
	defer events.Stop()
	t := template(name)
	begin := time.Now()
	if _, err := pods.Create(ctx, &v1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}, metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	if err := await(events, func(pod *v1.Pod) bool { return pod.Status.Phase == v1.PodRunning }); err != nil {
		return 0, fmt.Errorf("wait for pod %s: %w", name, err)
	}
	took = time.Since(begin)
	return took, remove(ctx, client, name)
}

// timeDeployment creates a Deployment of many pods, waits until all are Ready, and deletes it.
func timeDeployment(ctx context.Context, client kubernetes.Interface, name string) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	deployments := client.AppsV1().Deployments(metav1.NamespaceDefault)
	pods := client.CoreV1().Pods(metav1.NamespaceDefault)
	events, err := pods.Watch(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil {
		return 0, err
	}
	defer events.Stop()
	t := template(name)
	begin := time.Now()
	_, err = deployments.Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](crowd), Selector: &metav1.LabelSelector{MatchLabels: t.Labels},
		Template: v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: t.Labels}, Spec: t.Spec},
	}}, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	ready := map[string]bool{}
	if err := await(events, func(pod *v1.Pod) bool {
		ready[pod.Name] = isReady(pod)
		n := 0
		for _, yes := range ready {
			if yes {
				n++
			}
		}
		return n == crowd
	}); err != nil {
		return 0, fmt.Errorf("wait for the pods of %s: %w", name, err)
	}
	took = time.Since(begin)
	if err := deployments.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}); err != nil {
		return 0, err
	}
	return took, remove(ctx, client, name)
}

// await reads events until done is content with one.
func await(events watch.Interface, done func(*v1.Pod) bool) error {
	for event := range events.ResultChan() {
		pod, ok := event.Object.(*v1.Pod)
		if !ok {
			return fmt.Errorf("watch: %v", event.Object)
		}
		if event.Type != watch.Deleted && done(pod) {
			return nil
		}
	}
	return errors.New("the watch has ended")
}

// remove deletes all pods of an app and waits until they are gone.
func remove(ctx context.Context, client kubernetes.Interface, app string) error {
	pods := client.CoreV1().Pods(metav1.NamespaceDefault)
	for {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil || len(list.Items) == 0 {
			return err
		}
		err = pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}, metav1.ListOptions{LabelSelector: "app=" + app})
		if err := errors.Join(err, pause(ctx, 200*time.Millisecond)); err != nil {
			return err
		}
	}
}

func isReady(pod *v1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.PodReady {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}
