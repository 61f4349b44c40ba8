// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/proxy"
	translate "k8s.io/apiserver/pkg/util/proxy"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	kubelettypes "k8s.io/kubelet/pkg/types"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// Query parameters of exec and attach (k8s.io/api's ExecStdinParam and so on).
type streamOptions struct{ stdin, stdout, stderr, tty bool }

func readStreamOptions(q url.Values) (streamOptions, error) {
	on := func(name string) bool { return q.Get(name) == "1" || q.Get(name) == "true" }
	o := streamOptions{stdin: on("input"), stdout: on("output"), stderr: on("error"), tty: on("tty")}
	if o.tty {
		o.stderr = false // a terminal has one output
	}
	if !o.stdin && !o.stdout && !o.stderr {
		return o, fmt.Errorf("you must specify at least 1 of stdin, stdout, stderr")
	}
	return o, nil
}

// exec runs a command in a running container with its streams upgraded to SPDY or WebSocket.
func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	if in, ok := s.Runtime.(InProcess); ok {
		s.execInProcess(w, r, in)
		return
	}
	s.stream(w, r, func(id string, _ bool, o streamOptions) (string, error) {
		resp, err := s.Runtime.Exec(r.Context(), &runtimeapi.ExecRequest{
			ContainerId: id, Cmd: r.URL.Query()["command"], Stdin: o.stdin, Stdout: o.stdout, Stderr: o.stderr, Tty: o.tty})
		return resp.GetUrl(), err
	})
}

// attach connects to the streams of a container's first process, with a terminal if that has one.
func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	if in, ok := s.Runtime.(InProcess); ok {
		s.attachInProcess(w, r, in)
		return
	}
	s.stream(w, r, func(id string, tty bool, o streamOptions) (string, error) {
		resp, err := s.Runtime.Attach(r.Context(), &runtimeapi.AttachRequest{
			ContainerId: id, Stdin: o.stdin, Stdout: o.stdout, Stderr: o.stderr && !tty, Tty: tty})
		return resp.GetUrl(), err
	})
}

// streamed finds the running container that a request for streams is about; ok is false where it has been answered.
func (s *Server) streamed(w http.ResponseWriter, r *http.Request) (pod *v1.Pod, id string, o streamOptions, ok bool) {
	o, err := readStreamOptions(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, "", o, false
	}
	if pod = s.pod(w, r); pod == nil {
		return nil, "", o, false
	}
	if id, err = s.runningContainer(r, pod.UID, r.PathValue("container")); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil, "", o, false
	}
	return pod, id, o, true
}

func (s *Server) stream(w http.ResponseWriter, r *http.Request, ask func(id string, tty bool, o streamOptions) (string, error)) {
	pod, id, o, ok := s.streamed(w, r)
	if !ok {
		return
	}
	tty, _ := hasContainer(pod, r.PathValue("container"))
	target, err := ask(id, tty, o)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	location, err := url.Parse(target)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		// The runtime speaks SPDY and older WebSocket protocols: version 5 is translated.
		translate.NewStreamTranslatorHandler(location, nil, 0, translate.Options{Stdin: o.stdin, Stdout: o.stdout, Stderr: o.stderr, Tty: o.tty}).ServeHTTP(w, r)
		return
	}
	passOn(location).ServeHTTP(w, r)
}

// portForward connects to ports inside the pod's network.
func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	pod := s.pod(w, r)
	if pod == nil {
		return
	}
	tunnel := wsstream.IsWebSocketRequestWithTunnelingProtocol(r)
	var ports []int32
	if wsstream.IsWebSocketRequest(r) && !tunnel {
		var err error
		if ports, err = forwardedPorts(r.URL.Query()["port"]); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	sandboxes, err := s.Runtime.ListPodSandbox(r.Context(), &runtimeapi.PodSandboxFilter{
		LabelSelector: map[string]string{kubelettypes.KubernetesPodUIDLabel: string(pod.UID)},
		State:         &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY}})
	if err == nil && len(sandboxes) == 0 {
		err = fmt.Errorf("pod not found (%q)", pod.Name+"_"+pod.Namespace)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	resp, err := s.Runtime.PortForward(r.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: sandboxes[0].Id, Port: ports})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	location, err := url.Parse(resp.Url)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	handler := passOn(location)
	if tunnel {
		handler = translate.NewTunnelingHandler(handler)
	}
	handler.ServeHTTP(w, r)
}

// forwardedPorts reads the port parameters, each of which may list several.
func forwardedPorts(params []string) ([]int32, error) {
	var out []int32
	for _, p := range params {
		for _, text := range strings.Split(p, ",") {
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("unable to parse %q as a port", text)
			}
			out = append(out, int32(n))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf(`query parameter "port" is required`)
	}
	return out, nil
}

// run runs a command to its end and answers with what it printed.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	pod := s.pod(w, r)
	if pod == nil {
		return
	}
	id, err := s.runningContainer(r, pod.UID, r.PathValue("container"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	stdout, stderr, err := s.Runtime.ExecSync(r.Context(), id, strings.Split(r.URL.Query().Get("cmd"), " "), time.Duration(0))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	// A client that went away needs no answer.
	_, _ = w.Write(append(stdout, stderr...))
}

func (s *Server) runningContainer(r *http.Request, uid any, name string) (string, error) {
	list, err := s.Runtime.ListContainers(r.Context(), &runtimeapi.ContainerFilter{
		LabelSelector: map[string]string{kubelettypes.KubernetesPodUIDLabel: fmt.Sprint(uid), kubelettypes.KubernetesContainerNameLabel: name},
		State:         &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}})
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", fmt.Errorf("container not found (%q)", name)
	}
	return list[0].Id, nil
}

// passOn proxies an upgraded connection to the runtime.
func passOn(location *url.URL) http.Handler {
	return proxy.NewUpgradeAwareHandler(location, nil, false, true, proxyErrors{})
}

type proxyErrors struct{}

func (proxyErrors) Error(w http.ResponseWriter, r *http.Request, err error) {
	klog.FromContext(r.Context()).Error(err, "Error while proxying request")
	http.Error(w, err.Error(), http.StatusInternalServerError)
}
