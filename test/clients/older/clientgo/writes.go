// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	eventsclient "k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/retry"
)

// conflicts lets several writers count up one number: whoever comes second is told, and tries again, so that no count is lost.
func conflicts(ctx context.Context, e *env) error {
	const writers, each = 5, 10
	objects := e.client.CoreV1().ConfigMaps(e.namespace)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "counted"}, Data: map[string]string{"n": "0"}}
	if _, err := objects.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	backoff := wait.Backoff{Steps: 200, Duration: time.Millisecond, Jitter: 5}
	var wg sync.WaitGroup
	failed := make([]error, writers)
	for i := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range each {
				failed[i] = errors.Join(failed[i], retry.RetryOnConflict(backoff, func() error {
					object, err := objects.Get(ctx, "counted", metav1.GetOptions{})
					if err != nil {
						return err
					}
					n, err := strconv.Atoi(object.Data["n"])
					if err != nil {
						return err
					}
					object.Data["n"] = strconv.Itoa(n + 1)
					_, err = objects.Update(ctx, object, metav1.UpdateOptions{})
					return err
				}))
			}
		}()
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	object, err := objects.Get(ctx, "counted", metav1.GetOptions{})
	if err != nil {
		return err
	}
	object.ResourceVersion = "1"
	_, stale := objects.Update(ctx, object, metav1.UpdateOptions{})
	return errors.Join(expect("count", object.Data["n"], strconv.Itoa(writers*each)), must("an update of an old version", apierrors.IsConflict, stale))
}

// applyTyped declares parts of objects by apply configurations.
func applyTyped(ctx context.Context, e *env) error {
	maps, deployments := e.client.CoreV1().ConfigMaps(e.namespace), e.client.AppsV1().Deployments(e.namespace)
	one, two := metav1.ApplyOptions{FieldManager: "one"}, metav1.ApplyOptions{FieldManager: "two"}
	web := func(replicas int32) *appsapply.DeploymentApplyConfiguration {
		return appsapply.Deployment("web", e.namespace).WithSpec(appsapply.DeploymentSpec().WithReplicas(replicas).
			WithSelector(metaapply.LabelSelector().WithMatchLabels(map[string]string{"app": "web"})).
			WithTemplate(coreapply.PodTemplateSpec().WithLabels(map[string]string{"app": "web"}).
				WithSpec(coreapply.PodSpec().WithSchedulerName("nobody").
					WithContainers(coreapply.Container().WithName("web").WithImage("registry.hivemind.local/guestbook-web:1")))))
	}
	return all(
		func() error {
			_, err := maps.Apply(ctx, coreapply.ConfigMap("settings", e.namespace).WithData(map[string]string{"colour": "blue", "size": "large"}), one)
			return err
		},
		func() error {
			_, err := maps.Apply(ctx, coreapply.ConfigMap("settings", e.namespace).WithData(map[string]string{"colour": "red"}), two)
			return must("what another owns", apierrors.IsConflict, err)
		},
		func() error {
			force := two
			force.Force = true
			object, err := maps.Apply(ctx, coreapply.ConfigMap("settings", e.namespace).WithData(map[string]string{"colour": "red"}), force)
			if err != nil {
				return err
			}
			return expect("data", fmt.Sprint(object.Data), "map[colour:red size:large]")
		},
		// What a manager no longer declares goes.
		func() error {
			object, err := maps.Apply(ctx, coreapply.ConfigMap("settings", e.namespace), one)
			if err != nil {
				return err
			}
			return expect("data", fmt.Sprint(object.Data), "map[colour:red]")
		},
		// What a manager has declared can be read back, changed and declared again.
		func() error {
			if _, err := deployments.Apply(ctx, web(1), one); err != nil {
				return err
			}
			object, err := deployments.Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			declared, err := appsapply.ExtractDeployment(object, "one")
			if err != nil {
				return err
			}
			if declared.Spec == nil || declared.Spec.Replicas == nil || declared.Spec.Strategy != nil {
				return fmt.Errorf("extracted %+v, want what was declared and no defaults", declared.Spec)
			}
			declared.Spec.WithReplicas(3)
			object, err = deployments.Apply(ctx, declared, one)
			if err != nil {
				return err
			}
			return expect("replicas", *object.Spec.Replicas, 3)
		},
		func() error {
			status := appsapply.Deployment("web", e.namespace).WithStatus(appsapply.DeploymentStatus().WithConditions(
				appsapply.DeploymentCondition().WithType("Liked").WithStatus(corev1.ConditionTrue)))
			if _, err := deployments.ApplyStatus(ctx, status, two); err != nil {
				return err
			}
			object, err := deployments.Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			declared, err := appsapply.ExtractDeploymentStatus(object, "two")
			if err != nil {
				return err
			}
			if declared.Status == nil || len(declared.Status.Conditions) != 1 {
				return fmt.Errorf("extracted status %+v", declared.Status)
			}
			return nil
		},
		func() error { return deployments.Delete(ctx, "web", metav1.DeleteOptions{}) },
	)
}

// pages lists in parts, which together are what there was at the time of the first.
func pages(ctx context.Context, e *env) error {
	const total, limit = 250, 100
	if err := createConfigMaps(ctx, e, "paged", total); err != nil {
		return err
	}
	objects := e.client.CoreV1().ConfigMaps(e.namespace)
	options := metav1.ListOptions{Limit: limit, FieldSelector: "metadata.name!=kube-root-ca.crt"}
	options.FieldSelector = ""
	all, err := objects.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	first, err := objects.List(ctx, options)
	if err != nil {
		return err
	}
	remaining := first.RemainingItemCount
	if remaining == nil {
		return errors.New("a part of a list does not say how much remains")
	}
	if err := errors.Join(expect("items in the first part", len(first.Items), limit), expect("remaining", int(*remaining), len(all.Items)-limit)); err != nil {
		return err
	}
	// What changes now does not change the other parts.
	if err := objects.Delete(ctx, all.Items[total-1].Name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	seen := map[string]bool{}
	for list := first; ; {
		for _, item := range list.Items {
			seen[item.Name] = true
		}
		if list.ResourceVersion != first.ResourceVersion {
			return fmt.Errorf("a part is of version %s, the first of %s", list.ResourceVersion, first.ResourceVersion)
		}
		if list.Continue == "" {
			break
		}
		options.Continue = list.Continue
		if list, err = objects.List(ctx, options); err != nil {
			return err
		}
	}
	if err := expect("items in all parts", len(seen), len(all.Items)); err != nil {
		return err
	}
	parts := pager.New(pager.SimplePageFunc(func(o metav1.ListOptions) (runtime.Object, error) { return objects.List(ctx, o) }))
	parts.PageSize = 60
	n := 0
	if err := parts.EachListItem(ctx, metav1.ListOptions{LabelSelector: "set=paged"}, func(runtime.Object) error { n++; return nil }); err != nil {
		return err
	}
	if err := expect("items of the pager", n, total-1); err != nil {
		return err
	}
	if err := objects.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "set=paged"}); err != nil {
		return err
	}
	_, nonsense := objects.List(ctx, metav1.ListOptions{Limit: limit, Continue: "nonsense"})
	return must("a continue token that nobody gave", apierrors.IsBadRequest, nonsense)
}

// recordEvents tells of an object by both event APIs: each reads what the other wrote, and what is said again is counted.
func recordEvents(ctx context.Context, e *env) error {
	about, err := e.client.CoreV1().ConfigMaps(e.namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "eventful"}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	core := record.NewBroadcaster(record.WithContext(ctx))
	defer core.Shutdown()
	sink := &sinkOf{e}
	core.StartRecordingToSink(sink)
	recorder := core.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "clientgo"})
	for range 3 {
		recorder.Eventf(about, corev1.EventTypeNormal, "Counted", "said %s", "again")
	}
	newer := eventsclient.NewBroadcaster(&eventsclient.EventSinkImpl{Interface: e.client.EventsV1()})
	defer newer.Shutdown()
	if err := newer.StartRecordingToSinkWithContext(ctx); err != nil {
		return err
	}
	newer.NewRecorder(scheme.Scheme, "clientgo.example.org/tests").Eventf(about, nil, corev1.EventTypeWarning, "Noted", "Testing", "said once")

	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		old, err := e.client.CoreV1().Events(e.namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=eventful"})
		if err != nil {
			return false, err
		}
		fresh, err := e.client.EventsV1().Events(e.namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=Counted"})
		if err != nil {
			return false, err
		}
		var seen []string
		for _, event := range old.Items {
			seen = append(seen, fmt.Sprintf("%s %s %d", event.Reason, event.Message, event.Count))
		}
		return len(fresh.Items) == 1 && fresh.Items[0].Note == "said again" && fresh.Items[0].DeprecatedCount == 3 &&
			strings.Contains(strings.Join(seen, "\n"), "Counted said again 3") && strings.Contains(strings.Join(seen, "\n"), "Noted said once"), nil
	})
}

// sinkOf writes events into the namespace of the check.
type sinkOf struct{ *env }

func (s *sinkOf) Create(event *corev1.Event) (*corev1.Event, error) {
	return s.client.CoreV1().Events(s.namespace).Create(context.Background(), event, metav1.CreateOptions{})
}

func (s *sinkOf) Update(event *corev1.Event) (*corev1.Event, error) {
	return s.client.CoreV1().Events(s.namespace).Update(context.Background(), event, metav1.UpdateOptions{})
}

func (s *sinkOf) Patch(event *corev1.Event, patch []byte) (*corev1.Event, error) {
	return s.client.CoreV1().Events(s.namespace).Patch(context.Background(), event.Name, "application/strategic-merge-patch+json", patch, metav1.PatchOptions{})
}
