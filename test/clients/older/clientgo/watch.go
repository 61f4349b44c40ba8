// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	clientinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	clientwatch "k8s.io/client-go/tools/watch"
)

// watchOn prints what happens to ConfigMaps of the set "watched" until it is told to end: as a watch tells it that goes on from the last
// version it has seen, and as an informer does. Neither may lose or double anything while the server goes and comes.
func watchOn(ctx context.Context, e *env) error {
	list, err := e.client.CoreV1().ConfigMaps(e.namespace).List(ctx, metav1.ListOptions{LabelSelector: "set=watched"})
	if err != nil {
		return err
	}
	retrying, err := clientwatch.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = "set=watched"
			return e.client.CoreV1().ConfigMaps(e.namespace).Watch(ctx, o)
		},
	})
	if err != nil {
		return err
	}
	defer retrying.Stop()

	seen := &requests{}
	config := rest.CopyConfig(e.config)
	config.Wrap(seen.record)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := clientinformers.NewSharedInformerFactoryWithOptions(client, 0, clientinformers.WithNamespace(e.namespace),
		clientinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "set=watched" }))
	informer := factory.Core().V1().ConfigMaps().Informer()
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { fmt.Println("informer added", name(obj)) },
		UpdateFunc: func(_, obj any) { fmt.Println("informer updated", name(obj)) },
		DeleteFunc: func(obj any) { fmt.Println("informer deleted", name(obj)) },
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return ctx.Err()
	}
	fmt.Println("watching")
	for event := range retrying.ResultChan() {
		object, ok := event.Object.(*corev1.ConfigMap)
		if !ok {
			return fmt.Errorf("the watch sent %s %v", event.Type, event.Object)
		}
		fmt.Println("watch", event.Type, object.Name)
	}
	if ctx.Err() == nil {
		return fmt.Errorf("the watch could not be taken up again")
	}
	return nil
}

// elect takes part in an election by a Lease until it is told to end, and prints who leads. Arguments: the Lease's name, and one's own.
func elect(ctx context.Context, e *env) error {
	if len(e.args) != 2 {
		return fmt.Errorf("usage: elect LEASE NAME")
	}
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, e.namespace, e.args[0], e.client.CoreV1(), e.client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: e.args[1]})
	if err != nil {
		return err
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: 6 * time.Second, RenewDeadline: 5 * time.Second, RetryPeriod: 500 * time.Millisecond, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { fmt.Println("leading") },
			OnStoppedLeading: func() { fmt.Println("stopped leading") },
			OnNewLeader:      func(identity string) { fmt.Println("leader is", identity) },
		},
	})
	if err != nil {
		return err
	}
	elector.Run(ctx)
	if ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "lost the lease")
	}
	return nil
}

// listWatch lists and watches objects of the core group.
func listWatch(e *env, resource, selector string) *cache.ListWatch {
	return cache.NewListWatchFromClient(e.client.CoreV1().RESTClient(), resource, e.namespace, fields.ParseSelectorOrDie(selector))
}

// isReady tells of a pod whether it is ready.
func isReady(event watch.Event) (bool, error) {
	pod, ok := event.Object.(*corev1.Pod)
	if !ok {
		return false, fmt.Errorf("the watch sent %s %v", event.Type, event.Object)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return true, nil
		}
	}
	return false, nil
}
