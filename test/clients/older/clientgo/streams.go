// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/tools/watch"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
)

// streams runs commands in a pod, reaches its ports, and reads its log, over each of the protocols that there are for that.
func streams(ctx context.Context, e *env) error {
	pods := e.client.CoreV1().Pods(e.namespace)
	now := int64(0)
	pod, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "streams"}, Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: &now,
		Containers: []corev1.Container{
			{Name: "shell", Image: "registry.hivemind.local/busybox:1", Command: []string{"sh", "-c", "echo started; exec sleep 600"}},
			{Name: "web", Image: "registry.hivemind.local/guestbook-web:1"},
		},
	}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := running(ctx, e, pod); err != nil {
		return err
	}
	for name, newExecutor := range map[string]func(*rest.Config, string, *url.URL) (remotecommand.Executor, error){
		"SPDY": remotecommand.NewSPDYExecutor,
		"WebSocket": func(c *rest.Config, method string, u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(c, http.MethodGet, u.String())
		},
	} {
		if err := execute(ctx, e, newExecutor); err != nil {
			return fmt.Errorf("exec by %s: %w", name, err)
		}
	}
	for name, newDialer := range map[string]func(*rest.Config, *url.URL) (httpstream.Dialer, error){
		"SPDY": func(c *rest.Config, u *url.URL) (httpstream.Dialer, error) {
			transport, upgrader, err := spdy.RoundTripperFor(c)
			return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u), err
		},
		"WebSocket": func(c *rest.Config, u *url.URL) (httpstream.Dialer, error) {
			return portforward.NewSPDYOverWebsocketDialer(u, c)
		},
	} {
		if err := forward(ctx, e, newDialer); err != nil {
			return fmt.Errorf("port-forward by %s: %w", name, err)
		}
	}
	log, err := pods.GetLogs("streams", &corev1.PodLogOptions{Container: "shell"}).DoRaw(ctx)
	if err := errors.Join(err, expect("log", string(log), "started\n")); err != nil {
		return err
	}
	return pods.Delete(ctx, "streams", metav1.DeleteOptions{})
}

// running waits until the pod is ready.
func running(ctx context.Context, e *env, pod *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	_, err := watch.UntilWithSync(ctx, listWatch(e, "pods", "metadata.name="+pod.Name), &corev1.Pod{}, nil, isReady)
	return err
}

// execute runs a command that reads, writes to both outputs, and fails.
func execute(ctx context.Context, e *env, newExecutor func(*rest.Config, string, *url.URL) (remotecommand.Executor, error)) error {
	input := strings.Repeat("some words to carry over\n", 40_000) // 1 MB
	at := e.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(e.namespace).Name("streams").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: "shell", Stdin: true, Stdout: true, Stderr: true,
			Command: []string{"sh", "-c", "cat; echo to the other >&2; exit 7"}}, scheme.ParameterCodec).URL()
	executor, err := newExecutor(e.config, http.MethodPost, at)
	if err != nil {
		return err
	}
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(input), Stdout: &stdout, Stderr: &stderr})
	var exit utilexec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("got error %v, want one with an exit code", err)
	}
	return errors.Join(expect("exit code", exit.ExitStatus(), 7), expect("all of stdout is there", stdout.String() == input, true),
		expect("stderr", stderr.String(), "to the other\n"))
}

// forward reaches a web server in the pod, several times over one connection to the API.
func forward(ctx context.Context, e *env, newDialer func(*rest.Config, *url.URL) (httpstream.Dialer, error)) error {
	at := e.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(e.namespace).Name("streams").SubResource("portforward").URL()
	dialer, err := newDialer(e.config, at)
	if err != nil {
		return err
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	var problems bytes.Buffer
	forwarder, err := portforward.New(dialer, []string{"0:8080"}, stop, ready, io.Discard, &problems)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		return fmt.Errorf("ended before it was ready: %w", err)
	case <-time.After(patience):
		return errors.New("was not ready in time")
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	for range 3 {
		client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", ports[0].Local))
		if err != nil {
			return err
		}
		body, err := io.ReadAll(answer.Body)
		if err := errors.Join(err, answer.Body.Close(), expect("answer", string(body), "ok\n")); err != nil {
			return err
		}
	}
	close(stop)
	return errors.Join(<-ended, expect("problems", problems.String(), ""))
}
