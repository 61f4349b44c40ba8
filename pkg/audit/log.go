// SPDX-License-Identifier: Apache-2.0

// Package audit opens the log of requests to the API. Events are made, and filtered by the policy, by the API machinery's own filters
// (k8s.io/apiserver/pkg/audit); here is where they go.
//
// Cost: nothing where there is no policy. With one, each event that the policy wants is written to the file before its request goes
// on, as kube-apiserver does by default: what was answered is in the log.
package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gopkg.in/natefinch/lumberjack.v2"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	auditpolicy "k8s.io/apiserver/pkg/audit/policy"
	auditlog "k8s.io/apiserver/plugin/pkg/audit/log"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/audit/policy"
)

// standardOutput is the path that stands for no file.
const standardOutput = "-"

// Log is where events go, and which. Both fields are nil where there is no policy.
type Log struct {
	Backend audit.Backend
	Rules   audit.PolicyRuleEvaluator
}

// Open reads the policy and opens the log that the configuration, which has its defaults, asks for.
func Open(c config.Audit) (Log, error) {
	if c.PolicyFile == "" {
		return Log{}, nil
	}
	rules, err := policy.Load(c.PolicyFile)
	if err != nil {
		return Log{}, err
	}
	out, err := open(c)
	if err != nil {
		return Log{}, fmt.Errorf("audit.logPath: open the audit log: %w: mend that, or name another file", err)
	}
	backend := auditlog.NewBackend(out, c.LogFormat, auditv1.SchemeGroupVersion)
	return Log{closing{backend, out}, auditpolicy.NewPolicyRuleEvaluator(rules)}, nil
}

// open makes sure that the log can be written, and by nobody else read.
func open(c config.Audit) (io.WriteCloser, error) {
	if c.LogPath == standardOutput {
		return unclosed{os.Stdout}, nil
	}
	if err := os.MkdirAll(filepath.Dir(c.LogPath), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(c.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		err = f.Chmod(0o600) // one that was there may have another mode, and files that are rotated take it over
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if *c.LogMaxSize == 0 {
		return f, nil
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return &lumberjack.Logger{Filename: c.LogPath, MaxAge: *c.LogMaxAge, MaxBackups: *c.LogMaxBackup, MaxSize: *c.LogMaxSize}, nil
}

// unclosed is a file that is not this package's to close.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }

// closing closes the log when the server has stopped.
type closing struct {
	audit.Backend
	out io.Closer
}

// Shutdown implements audit.Backend.
func (c closing) Shutdown() {
	c.Backend.Shutdown()
	_ = c.out.Close() // each event has been written; there is nobody to tell
}
