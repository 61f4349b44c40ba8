// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/component"
)

// components lists the parts of this process in the order they start: those of the server role, then those of the
// agent role.
func components(ctx context.Context, cfg *apiconfig.Config, opts options) ([]component.Component, error) {
	return nil, nil
}
