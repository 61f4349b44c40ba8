// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/httpstream/wsstream"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"
	"k8s.io/apiserver/pkg/registry/rest"
	translator "k8s.io/apiserver/pkg/util/proxy"
)

// The streams of a pod: the API server checks the request, finds the pod's node, and passes bytes on to the agent there.
// WebSocket clients are translated to the SPDY that agents speak, as in KEP-4006.

var upgradeMethods = []string{"GET", "POST"}

// podLogREST serves pods/log.
type podLogREST struct {
	pods     rest.Getter
	kubelets *Kubelets
}

func (r *podLogREST) New() runtime.Object { return &corev1.Pod{} }
func (r *podLogREST) Destroy()            {}

func (r *podLogREST) ProducesMIMETypes(string) []string { return []string{"text/plain"} }
func (r *podLogREST) ProducesObject(string) any         { return "" }
func (r *podLogREST) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

func (r *podLogREST) OverrideMetricsVerb(verb string) string {
	if verb == "GET" {
		return "CONNECT"
	}
	return verb
}

// Get returns a stream of the log. For a pod that no node has yet it is empty.
func (r *podLogREST) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	opts, ok := options.(*corev1.PodLogOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	if errs := validateLogOptions(opts); len(errs) > 0 {
		return nil, errors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), name, errs)
	}
	obj, err := r.pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pod := obj.(*corev1.Pod)
	container, err := chooseContainer(pod, opts.Container)
	if err != nil {
		return nil, err
	}
	streamer := &genericrest.LocationStreamer{
		Transport: r.kubelets.Transport, ContentType: "text/plain", Flush: opts.Follow,
		ResponseChecker: genericrest.NewGenericHttpResponseChecker(corev1.Resource("pods/log"), name),
		RedirectChecker: genericrest.PreventRedirects,
	}
	if pod.Spec.NodeName == "" {
		return streamer, nil
	}
	if streamer.Location, err = r.kubelets.url(ctx, pod.Spec.NodeName); err != nil {
		return nil, err
	}
	streamer.Location.Path = fmt.Sprintf("/containerLogs/%s/%s/%s", pod.Namespace, pod.Name, container)
	streamer.Location.RawQuery = logQuery(opts).Encode()
	return streamer, nil
}

func validateLogOptions(o *corev1.PodLogOptions) field.ErrorList {
	var errs field.ErrorList
	if o.TailLines != nil && *o.TailLines < 0 {
		errs = append(errs, field.Invalid(field.NewPath("tailLines"), *o.TailLines, "must be greater than or equal to 0"))
	}
	if o.LimitBytes != nil && *o.LimitBytes < 1 {
		errs = append(errs, field.Invalid(field.NewPath("limitBytes"), *o.LimitBytes, "must be greater than 0"))
	}
	switch {
	case o.SinceSeconds != nil && o.SinceTime != nil:
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		errs = append(errs, field.Invalid(field.NewPath("sinceSeconds"), *o.SinceSeconds, "must be greater than 0"))
	}
	if o.Stream == nil {
		return errs
	}
	switch *o.Stream {
	case corev1.LogStreamAll:
	case corev1.LogStreamStdout, corev1.LogStreamStderr:
		if o.TailLines != nil {
			errs = append(errs, field.Forbidden(field.NewPath(""), "`tailLines` and specific `stream` are mutually exclusive for now"))
		}
	default:
		errs = append(errs, field.NotSupported(field.NewPath("stream"), *o.Stream, []string{corev1.LogStreamAll, corev1.LogStreamStderr, corev1.LogStreamStdout}))
	}
	return errs
}

func logQuery(o *corev1.PodLogOptions) url.Values {
	q := url.Values{}
	flag := func(name string, on bool) {
		if on {
			q.Set(name, "true")
		}
	}
	number := func(name string, n *int64) {
		if n != nil {
			q.Set(name, strconv.FormatInt(*n, 10))
		}
	}
	flag("follow", o.Follow)
	flag("previous", o.Previous)
	flag("timestamps", o.Timestamps)
	number("sinceSeconds", o.SinceSeconds)
	number("tailLines", o.TailLines)
	number("limitBytes", o.LimitBytes)
	if o.SinceTime != nil {
		q.Set("sinceTime", o.SinceTime.Format(time.RFC3339))
	}
	if o.Stream != nil {
		q.Set("stream", *o.Stream)
	}
	return q
}

// chooseContainer returns the container that a request means: the one it names, or the only one there is.
func chooseContainer(pod *corev1.Pod, name string) (string, error) {
	var all []string
	for _, c := range pod.Spec.InitContainers {
		all = append(all, c.Name)
	}
	for _, c := range pod.Spec.Containers {
		all = append(all, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		all = append(all, c.Name)
	}
	if name == "" {
		if len(pod.Spec.Containers) == 1 {
			return pod.Spec.Containers[0].Name, nil
		}
		return "", errors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", pod.Name, all))
	}
	for _, c := range all {
		if c == name {
			return name, nil
		}
	}
	return "", errors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}

// podExecREST serves pods/exec.
type podExecREST struct {
	pods     rest.Getter
	kubelets *Kubelets
}

func (r *podExecREST) New() runtime.Object      { return &corev1.PodExecOptions{} }
func (r *podExecREST) Destroy()                 {}
func (r *podExecREST) ConnectMethods() []string { return upgradeMethods }
func (r *podExecREST) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodExecOptions{}, false, ""
}

func (r *podExecREST) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	o, ok := options.(*corev1.PodExecOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	q := streamQuery(o.Stdin, o.Stdout, o.Stderr, o.TTY)
	q["command"] = o.Command
	return r.kubelets.streams(ctx, r.pods, name, "exec", o.Container, q, responder)
}

// podAttachREST serves pods/attach.
type podAttachREST struct {
	pods     rest.Getter
	kubelets *Kubelets
}

func (r *podAttachREST) New() runtime.Object      { return &corev1.PodAttachOptions{} }
func (r *podAttachREST) Destroy()                 {}
func (r *podAttachREST) ConnectMethods() []string { return upgradeMethods }
func (r *podAttachREST) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodAttachOptions{}, false, ""
}

func (r *podAttachREST) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	o, ok := options.(*corev1.PodAttachOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	return r.kubelets.streams(ctx, r.pods, name, "attach", o.Container, streamQuery(o.Stdin, o.Stdout, o.Stderr, o.TTY), responder)
}

// podPortForwardREST serves pods/portforward.
type podPortForwardREST struct {
	pods     rest.Getter
	kubelets *Kubelets
}

func (r *podPortForwardREST) New() runtime.Object      { return &corev1.PodPortForwardOptions{} }
func (r *podPortForwardREST) Destroy()                 {}
func (r *podPortForwardREST) ConnectMethods() []string { return upgradeMethods }
func (r *podPortForwardREST) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodPortForwardOptions{}, false, ""
}

func (r *podPortForwardREST) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	o, ok := options.(*corev1.PodPortForwardOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	pod, at, err := r.kubelets.forPod(ctx, r.pods, name)
	if err != nil {
		return nil, err
	}
	ports := make([]string, len(o.Ports))
	for i, p := range o.Ports {
		ports[i] = strconv.Itoa(int(p))
	}
	if len(ports) > 0 {
		at.RawQuery = url.Values{"port": {strings.Join(ports, ",")}}.Encode()
	}
	at.Path = fmt.Sprintf("/portForward/%s/%s", pod.Namespace, pod.Name)
	plain := proxy.NewUpgradeAwareHandler(at, r.kubelets.Transport, false, true, proxy.NewErrorResponder(responder))
	return translator.NewTranslatingHandler(plain, translator.NewTunnelingHandler(plain), wsstream.IsWebSocketRequestWithTunnelingProtocol), nil
}

func streamQuery(stdin, stdout, stderr, tty bool) url.Values {
	q := url.Values{}
	for name, on := range map[string]bool{corev1.ExecStdinParam: stdin, corev1.ExecStdoutParam: stdout, corev1.ExecStderrParam: stderr, corev1.ExecTTYParam: tty} {
		if on {
			q.Set(name, "1")
		}
	}
	return q
}

// streams connects the client to what verb (exec or attach) does in a container.
func (k *Kubelets) streams(ctx context.Context, pods rest.Getter, name, verb, container string, q url.Values, responder rest.Responder) (http.Handler, error) {
	obj, err := pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if container, err = chooseContainer(obj.(*corev1.Pod), container); err != nil {
		return nil, err
	}
	pod, at, err := k.forPod(ctx, pods, name)
	if err != nil {
		return nil, err
	}
	at.Path = fmt.Sprintf("/%s/%s/%s/%s", verb, pod.Namespace, pod.Name, container)
	at.RawQuery = q.Encode()
	plain := proxy.NewUpgradeAwareHandler(at, k.Transport, false, true, proxy.NewErrorResponder(responder))
	websocket := translator.NewStreamTranslatorHandler(at, k.Transport, 0, translator.Options{
		Stdin: q.Has(corev1.ExecStdinParam), Stdout: q.Has(corev1.ExecStdoutParam), Stderr: q.Has(corev1.ExecStderrParam), Tty: q.Has(corev1.ExecTTYParam),
	})
	return translator.NewTranslatingHandler(plain, websocket, wsstream.IsWebSocketRequestWithStreamCloseProtocol), nil
}

var (
	_ rest.GetterWithOptions = (*podLogREST)(nil)
	_ rest.Connecter         = (*podExecREST)(nil)
	_ rest.Connecter         = (*podAttachREST)(nil)
	_ rest.Connecter         = (*podPortForwardREST)(nil)
)
