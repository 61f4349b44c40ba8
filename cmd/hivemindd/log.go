// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-logr/logr/funcr"
	"google.golang.org/grpc/grpclog"
	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/klog/v2"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
)

// debugVerbosity is what klog's -v is at level debug.
const debugVerbosity = 4

// startLog sets klog up, which all libraries of Kubernetes log through, and keeps gRPC quiet. The returned function writes out what is buffered.
func startLog(cfg apiconfig.Log, file string) (flush func(), err error) {
	var out io.Writer = os.Stderr
	if file != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o711); err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		out = &lumberjack.Logger{Filename: file, MaxSize: 16, MaxBackups: 3}
	}
	// What klog writes at each level: from which severity on, and how much detail of the lowest.
	dropped, verbosity := 0, 0
	switch cfg.Level {
	case "debug":
		verbosity = debugVerbosity
	case "warn":
		dropped, verbosity = 1, -1
	case "error":
		dropped, verbosity = 2, -1
	}
	// Each severity is written once, to the output of its own, so that those below the level can be dropped.
	set := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(set)
	for name, value := range map[string]string{
		"v": fmt.Sprint(verbosity), "logtostderr": "false", "alsologtostderr": "false", "one_output": "true", "stderrthreshold": "FATAL",
	} {
		if err := set.Set(name, value); err != nil {
			return nil, fmt.Errorf("set up log: %w", err)
		}
	}
	severities := []string{"INFO", "WARNING", "ERROR", "FATAL"}
	for i, severity := range severities {
		if i < dropped {
			klog.SetOutputBySeverity(severity, io.Discard)
		} else {
			klog.SetOutputBySeverity(severity, out)
		}
	}
	if cfg.Format == "json" {
		klog.SetLogger(funcr.NewJSON(func(line string) {
			// A log that cannot be written has nowhere to say so.
			_, _ = io.WriteString(out, line+"\n")
		}, funcr.Options{LogTimestamp: true, Verbosity: verbosity}))
	}
	// What gRPC warns of is that containerd is not there yet or not any more, which its users find out and report themselves.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, out))
	return klog.Flush, nil
}
