// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/hivemind-project/hivemind/pkg/daemon"
)

// askEvery is how often a rotation is asked how far it is.
const askEvery = 200 * time.Millisecond

// newSecretsEncryptCommand is called as that of k3s is.
func newSecretsEncryptCommand(con *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secrets-encrypt",
		Short: "Show how Secrets are encrypted in the storage, and change the key",
		Long: `Secrets are encrypted before they reach the storage, with a key in encryption/keys.json in the data directory. The configuration's
encryption.resources lists what else is.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	output := "table"
	status := &cobra.Command{
		Use:   "status",
		Short: "Tell which keys there are, and how many objects are encrypted with each",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := findAPI(con, cmd, "secrets-encrypt status")
			if err != nil {
				return err
			}
			s, err := api.encryption(cmd.Context(), http.MethodGet, daemon.EncryptionPath)
			if err != nil {
				return err
			}
			return printEncryption(con, cmd, s, output)
		},
	}
	status.Flags().StringVarP(&output, "output", "o", output, "table, json or yaml")
	rotate := &cobra.Command{
		Use:     "rotate",
		Aliases: []string{"rotate-keys"},
		Short:   "Make a new key, and rewrite all that is encrypted with it",
		Long: `Make a new key, and rewrite all that is encrypted with it. The old key is dropped once no object needs it. The cluster can be used
meanwhile. Ctrl-C ends the waiting alone; a cluster that is stopped, or crashes, goes on at its next start.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := findAPI(con, cmd, "secrets-encrypt rotate")
			if err != nil {
				return err
			}
			return rotateKey(cmd.Context(), con, api)
		},
	}
	cmd.AddCommand(status, rotate)
	return cmd
}

// adminAPI is the API server of a cluster that runs, for its administrator.
type adminAPI struct {
	cluster *cluster
	url     string
	client  *http.Client
}

// findAPI fails, with what to do about it, unless the cluster that cmd points to runs and the person may administrate it; verb is
// what is being done.
func findAPI(con *console, cmd *cobra.Command, verb string) (*adminAPI, error) {
	c, err := findCluster(con, cmd)
	if err != nil {
		return nil, err
	}
	switch {
	case c.pid == 0:
		return nil, &exitError{exitNotRunning, fmt.Errorf("the cluster in %s does not run\nNext: %s", c.DataDir, c.again("up -d"))}
	case c.status == nil || !c.status.Ready:
		return nil, &exitError{exitNotRunning, fmt.Errorf("the cluster in %s is still starting\nNext: %s shows how far it is; try again when it is ready", c.DataDir, c.again("status"))}
	}
	if _, err := os.ReadFile(c.AdminKubeconfig()); errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("this is for the administrator of the cluster: %w\nNext: sudo %s", err, c.again(verb))
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.AdminKubeconfig())
	if err != nil {
		return nil, explainKubeconfig(c, err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &adminAPI{c, config.Host, client}, nil
}

// encryption asks the server, which answers with how objects are encrypted.
func (a *adminAPI) encryption(ctx context.Context, method, path string) (*daemon.Encryption, error) {
	request, err := http.NewRequestWithContext(ctx, method, a.url+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the API server: %w\nNext: %s", err, a.cluster.again("status"))
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("ask the API server: %w\nNext: %s", err, a.cluster.again("status"))
	}
	if response.StatusCode >= 300 {
		why := metav1.Status{}
		if json.Unmarshal(text, &why) != nil || why.Message == "" {
			why.Message = strings.TrimSpace(string(text))
		}
		next := a.cluster.again("logs")
		switch response.StatusCode {
		case http.StatusNotFound:
			next = a.cluster.again("down") + " && " + a.cluster.again("up -d") + ": an older version runs, which cannot do this"
		case http.StatusConflict:
			next = a.cluster.again("secrets-encrypt status")
		}
		return nil, fmt.Errorf("the API server refuses: %s (%s)\nNext: %s", why.Message, response.Status, next)
	}
	s := &daemon.Encryption{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("read the API server's answer: %w", err)
	}
	return s, nil
}

// rotateKey begins a rotation and shows how it goes until it has ended.
func rotateKey(ctx context.Context, con *console, api *adminAPI) error {
	begin := time.Now()
	s, err := api.encryption(ctx, http.MethodPost, daemon.RotationPath)
	if err != nil {
		return err
	}
	fmt.Fprintln(con.out, "A new key is made, and written with from now on")
	line := ""
	for s.Stage == daemon.EncryptionRewriting || s.Stage == daemon.EncryptionCleaning {
		now := fmt.Sprintf("Rewritten %d of %s", s.Rewritten, count(int(s.Total), "object", "objects"))
		if s.Stage == daemon.EncryptionCleaning {
			now = "Removing earlier versions from the storage"
		}
		if now != line && s.Total > 0 {
			fmt.Fprintln(con.out, now)
			line = now
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the rotation goes on without you\nNext: %s", api.cluster.again("secrets-encrypt status"))
		case <-time.After(askEvery):
		}
		if s, err = api.encryption(ctx, http.MethodGet, daemon.EncryptionPath); err != nil {
			return err
		}
	}
	if s.Stage != daemon.EncryptionSettled || len(s.Keys) == 0 {
		return fmt.Errorf("the rotation has not ended, and nothing is lost: %s\nNext: mend that, then: %s", s.Error, api.cluster.again("secrets-encrypt rotate"))
	}
	fmt.Fprintf(con.out, "Done in %s: %s encrypted with key %s, the old key is dropped\n", seconds(time.Since(begin)), count(int(encrypted(s)), "object", "objects"), s.Keys[0].Name)
	fmt.Fprintf(con.out, "Next: back up %s; backups of the storage from before need the old one\n", s.KeyFile)
	return nil
}

// encrypted counts the objects that are.
func encrypted(s *daemon.Encryption) (n int64) {
	for _, r := range s.Resources {
		for _, with := range r.Encrypted {
			n += with
		}
	}
	return n
}

func printEncryption(con *console, cmd *cobra.Command, s *daemon.Encryption, output string) error {
	switch output {
	case "json":
		encoder := json.NewEncoder(con.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(s)
	case "yaml":
		text, err := yaml.Marshal(s)
		if err == nil {
			_, err = con.out.Write(text)
		}
		return err
	case "table":
	default:
		return badOutput(cmd, output, "table, json or yaml")
	}
	w := tabwriter.NewWriter(con.out, 0, 8, 3, ' ', 0)
	state := "disabled"
	if slices.ContainsFunc(s.Resources, func(r daemon.EncryptedResource) bool { return r.Encrypt }) || len(s.Resources) == 0 {
		state = "enabled"
	}
	fmt.Fprintf(w, "Encryption:\t%s\n", state)
	stage := strings.ToLower(s.Stage)
	if s.Stage == daemon.EncryptionRewriting || s.Stage == daemon.EncryptionCleaning {
		stage = fmt.Sprintf("%s (%d of %d)", stage, s.Rewritten, s.Total)
	}
	fmt.Fprintf(w, "Stage:\t%s\n", stage)
	if s.Error != "" {
		fmt.Fprintf(w, "Error:\t%s\n", s.Error)
	}
	fmt.Fprintf(w, "Keys in:\t%s\n", s.KeyFile)
	if len(s.Keys) > 0 {
		fmt.Fprintln(w, "\nKEY\tUSE\tAGE")
	}
	for i, key := range s.Keys {
		use := "read"
		if i == 0 {
			use = "write, read"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", key.Name, use, age(key.Created))
	}
	if len(s.Resources) > 0 {
		fmt.Fprintln(w, "\nRESOURCE\tENCRYPT\tOBJECTS\tKEY")
	}
	for _, r := range s.Resources {
		row := func(n int64, with string) { fmt.Fprintf(w, "%s\t%t\t%d\t%s\n", r.Resource, r.Encrypt, n, with) }
		for _, name := range slices.Sorted(maps.Keys(r.Encrypted)) {
			row(r.Encrypted[name], name)
		}
		if r.Plain > 0 || len(r.Encrypted) == 0 {
			row(r.Plain, "-")
		}
	}
	return w.Flush()
}
