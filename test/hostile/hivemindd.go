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
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/process"
)

// startTimeout is how long hivemindd may take to be ready; half a second is common.
const startTimeout = time.Minute

// Server is a running hivemindd of the server role, which ends with the process that started it.
type Server struct {
	process *process.Process
	config  *config.Config
	admin   *rest.Config
}

// Start starts the program over a new directory below dir and waits until it is ready. Nothing of the storage is synced to the disk.
func Start(ctx context.Context, program, dir string) (_ *Server, err error) {
	c, err := cluster.New(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{config: c.Config}
	s.config.Node.IP = "127.0.0.1"
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if err := s.launch(program, dir); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("hivemindd is not ready after %v: read %s", startTimeout, s.process.Log))
	defer cancel()
	for {
		if s.admin, err = clientcmd.BuildConfigFromFlags("", s.config.AdminKubeconfig()); err == nil {
			s.admin.QPS = -1
			if err = s.ready(ctx); err == nil {
				return s, nil
			}
		}
		select {
		case <-s.process.Done():
			return nil, s.Err()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) launch(program, dir string) (err error) {
	s.process, err = process.Start(exec.Command(program, "--roles", "server", "--data-dir", s.config.DataDir, "--node-ip", s.config.Node.IP, "--node-name", "hostile",
		"--api-port", strconv.Itoa(s.config.API.Port), "--node-kubelet-port", strconv.Itoa(s.config.Node.KubeletPort),
		"--network-pod-cidr", s.config.Network.PodCIDR, "--network-service-cidr", s.config.Network.ServiceCIDR, "--storage-unsafe-no-fsync"), dir, "hivemindd")
	return err
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

// PID is the server's process.
func (s *Server) PID() int { return s.process.PID }

// Log is the file that the server writes its log to.
func (s *Server) Log() string { return s.process.Log }

// Err is nil while the server runs.
func (s *Server) Err() error { return s.process.Err() }

// Stop ends the server and removes what it has outside of its directory. It kills a server that does not end when asked.
func (s *Server) Stop(ctx context.Context) error {
	var errs []error
	if s.process != nil && s.Err() == nil {
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		errs = append(errs, s.process.Stop(ctx), s.process.Wait())
	}
	return errors.Join(append(errs, os.RemoveAll(s.config.RunDir()))...)
}
