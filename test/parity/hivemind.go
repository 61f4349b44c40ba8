// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/component"
	"github.com/hivemind-project/hivemind/pkg/server"
)

// startHivemind starts the server role in this process, as hivemindd does, up to the API server and what it is seeded with. Controllers and
// the scheduler stay out: stock has none here either, and what they write would not be the API server's answer.
func startHivemind(ctx context.Context, dir, serviceCIDR string) (_ *component.Group, kubeconfig string, err error) {
	c := &config.Config{DataDir: filepath.Join(dir, "hivemind"), Roles: []string{config.RoleServer}}
	c.Node.Name, c.Node.IP = "parity", "127.0.0.1"
	c.Network.ServiceCIDR = serviceCIDR
	c.Storage.UnsafeNoFsync = true
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("start Hivemind: %w", err)
	}
	c.API.Port = listener.Addr().(*net.TCPAddr).Port
	config.SetDefaults(c)
	parts := server.New(c, server.Options{Listener: listener}).Components()
	until := slices.IndexFunc(parts, func(p component.Component) bool { return p.Name == "controllers" })
	if until < 0 {
		return nil, "", errors.New("start Hivemind: the server role has no component controllers to stop before")
	}
	group := component.NewGroup(parts[:until]...)
	if err := group.Start(ctx, nil); err != nil {
		return nil, "", fmt.Errorf("start Hivemind: %w", err)
	}
	return group, c.AdminKubeconfig(), nil
}
