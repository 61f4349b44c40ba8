// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	clientversion "k8s.io/client-go/pkg/version"

	"github.com/hivemind-project/hivemind/pkg/bundle"
)

type versionReport struct {
	Version    string        `json:"version"`
	Kubernetes string        `json:"kubernetes"` // the release whose API is served
	Go         string        `json:"go"`
	Platform   string        `json:"platform"`
	Payload    string        `json:"payload,omitempty"` // names the directory that programs are unpacked into
	Carries    []bundle.File `json:"carries,omitempty"`
}

func newVersionCommand(con *console) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print versions, and what this file carries",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := versionReport{Version: version, Kubernetes: clientversion.Get().GitVersion, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			carried, err := bundle.Embedded()
			if err != nil && !errors.Is(err, bundle.ErrNoPayload) {
				return err
			}
			if err == nil {
				r.Payload, r.Carries = carried.Digest(), carried.Files()
			}
			switch output {
			case "json":
				encoder := json.NewEncoder(con.out)
				encoder.SetIndent("", "  ")
				return encoder.Encode(r)
			case "":
				fmt.Fprintf(con.out, "Hivemind %s\nKubernetes %s\n%s %s\n", r.Version, r.Kubernetes, r.Go, r.Platform)
				for _, f := range r.Carries {
					fmt.Fprintf(con.out, "  %-24s %4d MiB  sha256:%s\n", f.Name, (f.Size+1<<20-1)>>20, f.SHA256[:12])
				}
				return nil
			}
			return badOutput(cmd, output, "json")
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or nothing for text")
	return cmd
}
