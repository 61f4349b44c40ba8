// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	yamlv3 "go.yaml.in/yaml/v3"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/config"
)

func newConfigCommand(con *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show, change and check the configuration",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigViewCommand(con), newConfigGetCommand(con), newConfigSetCommand(con), newConfigValidateCommand(con))
	return cmd
}

func newConfigViewCommand(con *console) *cobra.Command {
	return &cobra.Command{
		Use:   "view",
		Short: "Print what `hivemind up` would start with, defaults included",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(cmd.Flags(), con.environ)
			if err != nil {
				return err
			}
			text, err := config.Marshal(cfg)
			if err != nil {
				return err
			}
			_, err = con.out.Write(text)
			return err
		},
	}
}

func newConfigGetCommand(con *console) *cobra.Command {
	return &cobra.Command{
		Use:               "get KEY",
		Short:             "Print one value, such as that of api.port",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			field, err := lookup(args[0])
			if err != nil {
				return err
			}
			cfg, err := config.Load(cmd.Flags(), con.environ)
			if err != nil {
				return err
			}
			fmt.Fprintln(con.out, field.Get(cfg))
			return nil
		},
	}
}

func newConfigSetCommand(con *console) *cobra.Command {
	return &cobra.Command{
		Use:               "set KEY VALUE",
		Short:             "Write one value to the configuration file",
		Long:              "Write one value to the configuration file; what else is in it stays, comments too. Lists are separated by commas.",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			field, err := lookup(args[0])
			if err != nil {
				return err
			}
			path, _ := config.File(cmd.Flags(), con.environ)
			if err := setInFile(path, field, args[1]); err != nil {
				return err
			}
			fmt.Fprintf(con.out, "%s is %s in %s\nNext: hivemind down && hivemind up -d, if the cluster runs\n", field.Key, args[1], path)
			return nil
		},
	}
}

func newConfigValidateCommand(con *console) *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a configuration file, and the variables",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if err := cmd.Flags().Set(config.FileFlag, args[0]); err != nil {
					return err
				}
			}
			if _, err := config.Load(cmd.Flags(), con.environ); err != nil {
				return err
			}
			path, _ := config.File(cmd.Flags(), con.environ)
			fmt.Fprintf(con.out, "%s is valid\n", path)
			return nil
		},
	}
}

func lookup(key string) (apiconfig.Field, error) {
	field, err := apiconfig.Lookup(key)
	if err != nil {
		return field, &exitError{exitUsage, fmt.Errorf("%w\nNext: hivemind config view lists all keys", err)}
	}
	return field, nil
}

func completeKeys(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var keys []string
	for _, f := range apiconfig.Fields() {
		keys = append(keys, f.Key+"\t"+f.Usage)
	}
	return keys, cobra.ShellCompDirectiveNoFileComp
}

// setInFile writes value under the field's key, unless the file would not be valid then.
func setInFile(path string, field apiconfig.Field, value string) error {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read configuration: %w", err)
	}
	changed, err := setInText(text, field, value)
	if err != nil {
		return config.Invalid(fmt.Errorf("%s: %w", field.Key, err))
	}
	cfg := &apiconfig.Config{}
	if err := apiconfig.Parse(changed, cfg); err != nil {
		return config.Invalid(fmt.Errorf("%s: %w", path, err))
	}
	apiconfig.SetDefaults(cfg)
	if errs := apiconfig.Validate(cfg); len(errs) > 0 {
		return config.Invalid(errs.ToAggregate())
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, changed, 0o644); err != nil {
		return errors.Join(fmt.Errorf("write configuration: %w", err), os.Remove(temp))
	}
	return os.Rename(temp, path)
}

// setInText sets a key of a YAML document and keeps the rest as it is written.
func setInText(text []byte, field apiconfig.Field, value string) ([]byte, error) {
	// Through the schema first, so that the value is written as its type is.
	cfg := &apiconfig.Config{}
	if err := field.Set(cfg, value); err != nil {
		return nil, err
	}
	one, err := config.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	var document, update yamlv3.Node
	if err := yamlv3.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if err := yamlv3.Unmarshal(one, &update); err != nil {
		return nil, err
	}
	keys := strings.Split(field.Key, ".")
	if document.Kind == 0 || document.Content[0].Kind != yamlv3.MappingNode {
		document = yamlv3.Node{Kind: yamlv3.DocumentNode, Content: []*yamlv3.Node{{Kind: yamlv3.MappingNode}}}
	}
	from, into := update.Content[0], document.Content[0]
	for i, key := range keys {
		last := i == len(keys)-1
		source := child(from, key)
		if source == nil {
			// The zero value: the key goes, and its default is back.
			source = &yamlv3.Node{Kind: yamlv3.ScalarNode, Tag: "!!null", Value: "null"}
		}
		target := child(into, key)
		if target == nil || !last && target.Kind != yamlv3.MappingNode {
			target = &yamlv3.Node{Kind: yamlv3.MappingNode}
			into.Content = append(into.Content, &yamlv3.Node{Kind: yamlv3.ScalarNode, Value: key}, target)
		}
		if last {
			source.LineComment, source.HeadComment, source.FootComment = target.LineComment, target.HeadComment, target.FootComment
			*target = *source
		}
		from, into = source, target
	}
	return yamlv3.Marshal(&document)
}

// child is the value of key in a mapping, or nil.
func child(mapping *yamlv3.Node, key string) *yamlv3.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}
