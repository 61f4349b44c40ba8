// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	clientfeatures "k8s.io/client-go/features"
	clientinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// informers keeps ConfigMaps in a cache: what was there, what comes, changes and goes, and what is told again with each resync. Whether the
// cache is filled by a list or by a stream (WatchListClient) is client-go's business; that the server took part in it is checked here.
func informers(ctx context.Context, e *env) error {
	seen := &requests{}
	config := rest.CopyConfig(e.config)
	config.Wrap(seen.record)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := createConfigMaps(ctx, e, "informed", 20); err != nil {
		return err
	}
	factory := clientinformers.NewSharedInformerFactoryWithOptions(client, time.Second, clientinformers.WithNamespace(e.namespace),
		clientinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "set=informed" }))
	informer := factory.Core().V1().ConfigMaps()
	happened := make(chan string, 1000)
	_, err = informer.Informer().AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, initial bool) { happened <- fmt.Sprintf("added %s %v", name(obj), initial) },
		UpdateFunc: func(old, obj any) {
			if resourceVersion(old) == resourceVersion(obj) {
				happened <- "resynced " + name(obj)
			} else {
				happened <- "updated " + name(obj)
			}
		},
		DeleteFunc: func(obj any) { happened <- "deleted " + name(obj) },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		factory.Shutdown()
	}()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.Informer().HasSynced) {
		return errors.New("the cache has not synced")
	}
	lister := informer.Lister().ConfigMaps(e.namespace)
	wanted := func(what string) func() error { return func() error { return await(ctx, happened, what) } }
	return all(
		func() error {
			list, err := lister.List(labels.Everything())
			return errors.Join(err, expect("objects in the cache", len(list), 20))
		},
		wanted("added informed-7 true"),
		func() error {
			return seen.filled(clientfeatures.FeatureGates().Enabled(clientfeatures.WatchListClient))
		},
		func() error { return createConfigMaps(ctx, e, "informed", 1, "late") },
		wanted("added informed-late false"),
		func() error {
			_, err := e.client.CoreV1().ConfigMaps(e.namespace).Patch(ctx, "informed-late", "application/merge-patch+json", []byte(`{"data":{"a":"b"}}`), metav1.PatchOptions{})
			return err
		},
		wanted("updated informed-late"),
		wanted("resynced informed-late"),
		// An object that loses its label leaves the watch.
		func() error {
			_, err := e.client.CoreV1().ConfigMaps(e.namespace).Patch(ctx, "informed-3", "application/merge-patch+json", []byte(`{"metadata":{"labels":null}}`), metav1.PatchOptions{})
			return err
		},
		wanted("deleted informed-3"),
		func() error {
			return e.client.CoreV1().ConfigMaps(e.namespace).Delete(ctx, "informed-late", metav1.DeleteOptions{})
		},
		wanted("deleted informed-late"),
		func() error { return bookmark(ctx, e) },
	)
}

// bookmark asks for a stream of what is there, which ends with a bookmark that says so.
func bookmark(ctx context.Context, e *env) error {
	yes := true
	w, err := e.client.CoreV1().ConfigMaps(e.namespace).Watch(ctx, metav1.ListOptions{AllowWatchBookmarks: true, SendInitialEvents: &yes,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, LabelSelector: "set=informed"})
	if err != nil {
		return err
	}
	defer w.Stop()
	for added := 0; ; {
		event, err := next(ctx, w.ResultChan(), "a bookmark")
		if err != nil {
			return err
		}
		object, ok := event.Object.(*corev1.ConfigMap)
		switch {
		case !ok:
			return fmt.Errorf("a watch of ConfigMaps sent %T: %v", event.Object, event.Object)
		case event.Type == watch.Added:
			added++
		case event.Type == watch.Bookmark:
			return errors.Join(expect("objects before the bookmark", added, 19),
				expect("annotation of the bookmark", object.Annotations[metav1.InitialEventsAnnotationKey], "true"),
				expect("resourceVersion is empty", object.ResourceVersion == "", false))
		}
	}
}

// requests remembers what was asked of the server.
type requests struct {
	mu   sync.Mutex
	urls []string
}

func (r *requests) record(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(q *http.Request) (*http.Response, error) {
		r.mu.Lock()
		r.urls = append(r.urls, q.Method+" "+q.URL.RequestURI())
		r.mu.Unlock()
		return next.RoundTrip(q)
	})
}

// filled is an error where the cache was not filled by a stream, or by a list.
func (r *requests) filled(byStream bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	streams, lists := 0, 0
	for _, url := range r.urls {
		switch {
		case strings.Contains(url, "sendInitialEvents=true"):
			streams++
		case !strings.Contains(url, "watch=true"):
			lists++
		}
	}
	if byStream && (streams != 1 || lists != 0) || !byStream && (streams != 0 || lists != 1) {
		return fmt.Errorf("the cache was filled by %d streams and %d lists (WatchListClient %v): %s", streams, lists, byStream, strings.Join(r.urls, "\n"))
	}
	fmt.Printf("filled by %d streams and %d lists\n", streams, lists)
	return nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// createConfigMaps creates some, named after the set they are of and a number, or a name.
func createConfigMaps(ctx context.Context, e *env, set string, n int, names ...string) error {
	for i := range n {
		called := fmt.Sprint(i)
		if i < len(names) {
			called = names[i]
		}
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: set + "-" + called, Labels: map[string]string{"set": set}}}
		if _, err := e.client.CoreV1().ConfigMaps(e.namespace).Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// await takes lines until one is as wanted.
func await(ctx context.Context, lines <-chan string, want string) error {
	for {
		line, err := next(ctx, lines, want)
		if err != nil || line == want {
			return err
		}
	}
}

func name(obj any) string {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	return obj.(metav1.Object).GetName()
}

func resourceVersion(obj any) string { return obj.(metav1.Object).GetResourceVersion() }
