// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
)

// deploy creates a Deployment of each size, and times until a watch has shown each of its Pods. Nothing runs them: their creation is what is measured.
func (l *Load) deploy(ctx context.Context) ([]Result, error) {
	var results []Result
	for _, replicas := range l.o.Deployments {
		result, err := l.measured(Deployment(replicas), func() (series, error) { return l.timeDeployment(ctx, replicas) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", Deployment(replicas), err)
		}
		results = append(results, result...)
	}
	return results, nil
}

func (l *Load) timeDeployment(ctx context.Context, replicas int) (series, error) {
	client, ns := l.clients[0], l.namespaces["deployments"]
	labels := map[string]string{"app": fmt.Sprintf("replicas-%d", replicas)}
	list, err := client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return series{}, err
	}
	events, err := client.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{LabelSelector: "app=" + labels["app"], ResourceVersion: list.ResourceVersion})
	if err != nil {
		return series{}, err
	}
	defer events.Stop()
	begin := time.Now()
	_, err = client.AppsV1().Deployments(ns).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: labels["app"]},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(replicas)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return series{}, err
	}
	return arrivals(ctx, events, begin, replicas)
}

// arrivals reads events until so many Pods were added, and says how long after begin each was.
func arrivals(ctx context.Context, events watch.Interface, begin time.Time, want int) (series, error) {
	var s series
	pods := map[string]bool{}
	for len(pods) < want {
		select {
		case event, open := <-events.ResultChan():
			if !open {
				return s, errors.New("the watch of Pods has ended")
			}
			pod, ok := event.Object.(*v1.Pod)
			if !ok {
				return s, fmt.Errorf("the watch of Pods: %w", apierrors.FromObject(event.Object))
			}
			if event.Type == watch.Added && !pods[pod.Name] {
				pods[pod.Name] = true
				s.took = append(s.took, time.Since(begin))
			}
		case <-ctx.Done():
			return s, fmt.Errorf("wait for Pods: %d of %d are there: %w", len(pods), want, context.Cause(ctx))
		}
	}
	s.total = time.Since(begin)
	return s, nil
}
