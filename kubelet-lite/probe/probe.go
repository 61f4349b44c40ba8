// SPDX-License-Identifier: Apache-2.0

// Package probe asks a container once how it is, by command, HTTP, TCP or gRPC, and makes the HTTP requests of lifecycle hooks.
// Nothing is kept between calls: each opens one connection or runs one command, bounded by its context.
package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	internalapi "k8s.io/cri-api/pkg/apis"
	utilexec "k8s.io/utils/exec"

	"github.com/hivemind-project/hivemind/kubelet-lite/envvars"
)

const maxBody = 10 << 10 // bytes of an answer that are read

// Outcome of one probe.
type Outcome int

const (
	Success Outcome = iota
	Warning         // a success worth an event
	Failure
)

// Prober probes; it is safe for concurrent use.
type Prober struct {
	runtime internalapi.RuntimeService
	client  *http.Client
	agent   string // user agent without the purpose: kube-%s/1.37
}

// New returns a prober. version is the node agent's, such as 1.37.
func New(runtime internalapi.RuntimeService, version string) *Prober {
	transport := &http.Transport{
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, // a probe asks whether, not who
		DisableKeepAlives:  true,
		DisableCompression: true,
		DialContext:        dialer().DialContext,
	}
	redirect := func(request *http.Request, via []*http.Request) error {
		if request.URL.Hostname() != via[0].URL.Hostname() {
			return http.ErrUseLastResponse
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}
	return &Prober{runtime: runtime, client: &http.Client{Transport: transport, CheckRedirect: redirect}, agent: "kube-%s/" + version}
}

// Probe runs a probe once, within its timeout. An error means that it could not be told how the container is.
func (p *Prober) Probe(ctx context.Context, spec *v1.Probe, container *v1.Container, containerID, podIP string) (Outcome, string, error) {
	timeout := time.Duration(max(spec.TimeoutSeconds, 1)) * time.Second
	switch {
	case spec.Exec != nil:
		return p.exec(ctx, containerID, expandStatic(spec.Exec.Command, container.Env), timeout)
	case spec.HTTPGet != nil:
		request, err := p.Request(ctx, spec.HTTPGet, container, podIP, "probe")
		if err != nil {
			return Failure, "", err
		}
		return p.http(request, timeout)
	case spec.TCPSocket != nil:
		port, err := Port(spec.TCPSocket.Port, container)
		if err != nil {
			return Failure, "", err
		}
		return tcp(ctx, host(spec.TCPSocket.Host, podIP), port, timeout)
	case spec.GRPC != nil:
		return p.grpc(ctx, net.JoinHostPort(podIP, strconv.Itoa(int(spec.GRPC.Port))), spec.GRPC.Service, timeout)
	}
	return Failure, "", fmt.Errorf("missing probe handler for container %s", container.Name)
}

// Request makes the request of an httpGet action. purpose goes into the user agent.
func (p *Prober) Request(ctx context.Context, get *v1.HTTPGetAction, container *v1.Container, podIP, purpose string) (*http.Request, error) {
	port, err := Port(get.Port, container)
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(get.Path)
	if err != nil {
		target = &url.URL{Path: get.Path}
	}
	target.Scheme = strings.ToLower(string(get.Scheme))
	if target.Scheme == "" {
		target.Scheme = "http"
	}
	target.Host = net.JoinHostPort(host(get.Host, podIP), strconv.Itoa(port))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, h := range get.HTTPHeaders {
		request.Header.Add(h.Name, h.Value)
	}
	if _, ok := request.Header["User-Agent"]; !ok {
		request.Header.Set("User-Agent", fmt.Sprintf(p.agent, purpose))
	}
	if _, ok := request.Header["Accept"]; !ok {
		request.Header.Set("Accept", "*/*")
	} else if request.Header.Get("Accept") == "" {
		request.Header.Del("Accept")
	}
	request.Host = request.Header.Get("Host")
	return request, nil
}

// Do sends a hook's request. Where an HTTPS hook turns out to speak HTTP, it is sent again so, without credentials.
func (p *Prober) Do(request *http.Request) (fellBack bool, err error) {
	response, err := p.client.Do(request)
	if err != nil && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		again := request.Clone(request.Context())
		again.URL.Scheme = "http"
		again.Header.Del("Authorization")
		if second, plainErr := p.client.Do(again); plainErr == nil {
			response, err, fellBack = second, nil, true
		}
	}
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxBody))
	return fellBack, err
}

// Port is the number of a port that an action names or numbers.
func Port(port intstr.IntOrString, container *v1.Container) (int, error) {
	number := port.IntValue()
	if port.Type == intstr.String {
		for _, p := range container.Ports {
			if p.Name == port.StrVal {
				number = int(p.ContainerPort)
			}
		}
	}
	if number <= 0 || number > 65535 {
		return 0, fmt.Errorf("invalid port number: %v", port.String())
	}
	return number, nil
}

func (p *Prober) exec(ctx context.Context, containerID string, command []string, timeout time.Duration) (Outcome, string, error) {
	stdout, stderr, err := p.runtime.ExecSync(ctx, containerID, command, timeout)
	output := string(append(stdout, stderr...))
	if len(output) > maxBody {
		output = output[:maxBody]
	}
	var exit utilexec.ExitError
	switch {
	case err == nil:
		return Success, output, nil
	case errors.As(err, &exit):
		if exit.ExitStatus() == 0 {
			return Success, output, nil
		}
		return Failure, output, nil
	case status.Code(err) == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "command timed out"):
		return Failure, fmt.Sprintf("command timed out: %q timed out after %v", strings.Join(command, " "), timeout), nil
	}
	return Failure, "", err
}

func (p *Prober) http(request *http.Request, timeout time.Duration) (Outcome, string, error) {
	client := *p.client
	client.Timeout = timeout
	response, err := client.Do(request)
	if err != nil {
		return Failure, err.Error(), nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return Failure, err.Error(), nil
	}
	switch code := response.StatusCode; {
	case code >= 300 && code < 400:
		return Warning, fmt.Sprintf("Probe terminated redirects, Response body: %v", string(body)), nil
	case code >= 200 && code < 300:
		return Success, string(body), nil
	default:
		return Failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", code), nil
	}
}

func tcp(ctx context.Context, host string, port int, timeout time.Duration) (Outcome, string, error) {
	d := dialer()
	d.Timeout = timeout
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return Failure, err.Error(), nil
	}
	conn.Close()
	return Success, "", nil
}

func (p *Prober) grpc(ctx context.Context, address string, service *string, timeout time.Duration) (Outcome, string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithUserAgent(fmt.Sprintf(p.agent, "probe")),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer().DialContext(ctx, "tcp", address)
		}))
	if err != nil {
		return Failure, fmt.Sprintf("error: failed to connect service at %q: %+v", address, err), nil
	}
	defer conn.Close()
	request := &grpc_health_v1.HealthCheckRequest{}
	if service != nil {
		request.Service = *service
	}
	response, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, request)
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		return Failure, fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", status.Convert(err).Message()), nil
	case codes.Unavailable:
		return Failure, fmt.Sprintf("timeout: failed to connect service %q within %v: %+v", address, timeout, err), nil
	case codes.DeadlineExceeded:
		return Failure, fmt.Sprintf("timeout: health rpc did not complete within %v", timeout), nil
	default:
		return Failure, fmt.Sprintf("error: health rpc probe failed: %+v", err), nil
	}
	if response.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return Failure, fmt.Sprintf("service unhealthy (responded with %q)", response.GetStatus().String()), nil
	}
	return Success, "service healthy", nil
}

// dialer closes its connections with a short linger, so that thousands of probes leave no sockets in TIME_WAIT.
func dialer() *net.Dialer {
	return &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			// Without it the probe works just as well.
			_ = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1, Linger: 1})
		})
	}}
}

// expandStatic expands a probe's command with the variables that have literal values: it sees no others.
func expandStatic(command []string, env []v1.EnvVar) []string {
	lookup := func(name string) (string, bool) {
		for _, e := range env {
			if e.Name == name && e.ValueFrom == nil {
				return e.Value, true
			}
		}
		return "", false
	}
	result := make([]string, len(command))
	for i, word := range command {
		result[i] = envvars.Expand(word, lookup)
	}
	return result
}

func host(named, podIP string) string {
	if named != "" {
		return named
	}
	return podIP
}
