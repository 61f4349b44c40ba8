// SPDX-License-Identifier: Apache-2.0

// Package hostile has what tests need that send a server what no honest client would: a real hivemindd in a process of its own, its resident
// memory (memory.go), and a bystander whose requests must succeed all the while (bystander.go). The tests are beside it: `make hostile`
// runs all of them, and `make test` those that take seconds. Package mutation is what fuzz targets change valid objects by.
package hostile

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/test/cluster"
)

// startTimeout is how long hivemindd may take to be ready; half a second is common.
const startTimeout = time.Minute

// Server is a running hivemindd of the server role, which ends with the process that started it.
type Server struct {
	PID    int
	Log    string // file
	config *config.Config
	admin  *rest.Config
	done   chan struct{} // closed when it has ended
	err    error         // how it ended; set before done is closed
}

// Start starts the program over a new directory below dir and waits until it is ready. Nothing of the storage is synced to the disk.
func Start(ctx context.Context, program, dir string) (_ *Server, err error) {
	c, err := cluster.New(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{config: c.Config, Log: filepath.Join(dir, "hivemindd.log"), done: make(chan struct{})}
	s.config.Node.IP = "127.0.0.1"
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if err := s.launch(program); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("hivemindd is not ready after %v: read %s", startTimeout, s.Log))
	defer cancel()
	for {
		if s.admin, err = clientcmd.BuildConfigFromFlags("", s.config.AdminKubeconfig()); err == nil {
			s.admin.QPS = -1
			if err = s.ready(ctx); err == nil {
				return s, nil
			}
		}
		select {
		case <-s.done:
			return nil, s.Err()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) launch(program string) error {
	out, err := os.Create(s.Log)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "--roles", "server", "--data-dir", s.config.DataDir, "--node-ip", s.config.Node.IP, "--node-name", "hostile",
		"--api-port", strconv.Itoa(s.config.API.Port), "--node-kubelet-port", strconv.Itoa(s.config.Node.KubeletPort),
		"--network-pod-cidr", s.config.Network.PodCIDR, "--network-service-cidr", s.config.Network.ServiceCIDR, "--storage-unsafe-no-fsync")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		// The signal comes when the thread ends that started the child: this one waits as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close()
		err := cmd.Start()
		if err == nil {
			s.PID = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			s.err = cmd.Wait()
		}
		close(s.done)
	}()
	return <-started
}

// ready asks the server whether it is.
func (s *Server) ready(ctx context.Context) error {
	client, err := rest.HTTPClientFor(s.Admin())
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/api/v1/namespaces/default", nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", request.URL, answer.Status)
	}
	return nil
}

// URL is where the API server listens.
func (s *Server) URL() string {
	return "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(s.config.API.Port))
}

// Admin is how clients reach the server as its administrator, unthrottled. Each call returns a copy.
func (s *Server) Admin() *rest.Config { return rest.CopyConfig(s.admin) }

// Err is nil while the server runs.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return fmt.Errorf("hivemindd has ended (%v): read %s", s.err, s.Log)
	default:
		return nil
	}
}

// Stop ends the server and removes what it has outside of its directory. It kills a server that does not end when asked.
func (s *Server) Stop(ctx context.Context) error {
	var errs []error
	if s.PID != 0 && s.Err() == nil {
		errs = append(errs, syscall.Kill(s.PID, syscall.SIGTERM))
		select {
		case <-s.done:
			errs = append(errs, s.err)
		case <-ctx.Done():
			errs = append(errs, context.Cause(ctx), syscall.Kill(s.PID, syscall.SIGKILL))
			<-s.done
		case <-time.After(startTimeout):
			errs = append(errs, fmt.Errorf("hivemindd did not end within %v and was killed", startTimeout), syscall.Kill(s.PID, syscall.SIGKILL))
			<-s.done
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.config.RunDir()))...)
}
