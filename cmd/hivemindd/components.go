// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/agent"
	"github.com/hivemind-project/hivemind/pkg/agent/simulation"
	"github.com/hivemind-project/hivemind/pkg/component"
	"github.com/hivemind-project/hivemind/pkg/server"
)

// components lists the parts of this process in the order they start: those of the server role, then those of the
// agent role. failed is told why the process is about to end where a part cannot go on.
func components(cfg *apiconfig.Config, opts options, failed func(error)) ([]component.Component, error) {
	if !slices.Contains(cfg.Roles, apiconfig.RoleServer) {
		return nil, errors.New("roles: an agent alone has no server to join; add the role server")
	}
	s := server.New(cfg, server.Options{Failed: failed, Version: version})
	parts := s.Components()
	if !slices.Contains(cfg.Roles, apiconfig.RoleAgent) {
		return parts, nil
	}
	if cfg.Runtime == apiconfig.RuntimeSimulated {
		a := simulation.New(cfg, simulation.Options{Upstream: func() (simulation.Upstream, error) {
			ids := s.Identities()
			return simulation.Upstream{
				Client: s.NodeClient, Controller: s.ControllerClient("node-controller"), Informers: s.Informers(),
				Serving: ids.KubeletServing.TLS(), ClientCA: ids.CA.Cert,
			}, nil
		}})
		s.DialNodes(a.Dial)
		return append(parts, a.Components()...), nil
	}
	bin := opts.binDir
	if bin == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		bin = filepath.Dir(self)
	}
	a := agent.New(cfg, agent.Options{BinDir: bin, Upstream: func() (agent.Upstream, error) {
		ids := s.Identities()
		return agent.Upstream{
			Client: ids.RESTConfig(s.URL(), ids.KubeletClient), Serving: ids.KubeletServing.TLS(), ClientCA: ids.CA.Cert, Informers: s.Informers(),
		}, nil
	}})
	return append(parts, a.Components()...), nil
}
