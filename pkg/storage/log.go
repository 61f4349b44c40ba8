// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
)

// newLogger returns a zap logger, which etcd insists on, that hands warnings and errors to klog and drops the rest. etcd
// ends the process through it where it cannot go on: what it has acknowledged is in the write-ahead log by then.
func newLogger(opts Options) *zap.Logger {
	end := lastWords{dir: opts.Dir, told: opts.Failed}
	return zap.New(klogCore{LevelEnabler: zapcore.WarnLevel}, zap.WithFatalHook(end), zap.WithPanicHook(end))
}

// lastWords is a zapcore.CheckWriteHook that says why etcd cannot go on and what to do, and ends the process.
type lastWords struct {
	dir  string
	told func(error)
}

func (l lastWords) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := l.explain(entry.Message, fields)
	// A disk that is full has no room for the log either, so this comes second.
	if l.told != nil {
		l.told(err)
	}
	klog.ErrorS(err, "The storage cannot go on")
	klog.Flush()
	os.Exit(1)
}

// explain makes an error of the line that etcd ends with.
func (l lastWords) explain(message string, fields []zapcore.Field) error {
	err := errors.New(message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			err = fmt.Errorf("%s: %w", message, cause)
		}
	}
	mend := "start again: hivemind up -d; where that ends like this too, the disk or what is on it is damaged"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || strings.Contains(message, syscall.ENOSPC.Error()) {
		mend = "free space on " + l.dir + ", then: hivemind up -d"
	}
	return fmt.Errorf("storage in %s: %w; %s", l.dir, err, mend)
}

// klogCore is a zapcore.Core over klog.
type klogCore struct {
	zapcore.LevelEnabler
	fields []zapcore.Field
}

func (c klogCore) With(fields []zapcore.Field) zapcore.Core {
	return klogCore{c.LevelEnabler, append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// expected are messages of every first start: the schema version is known once the first entry has been applied, and etcd
// asks again.
var expected = map[string]bool{"Failed to detect schema version": true, "failed to update storage version": true, "failed to update cluster version": true}

func (c klogCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	// The last line is lastWords'.
	if c.Enabled(entry.Level) && entry.Level < zapcore.DPanicLevel && !expected[entry.Message] {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c klogCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(c.fields[:len(c.fields):len(c.fields)], fields...) {
		f.AddTo(enc)
	}
	keysAndValues := make([]any, 0, 2*len(enc.Fields))
	for k, v := range enc.Fields {
		keysAndValues = append(keysAndValues, k, v)
	}
	if entry.Level >= zapcore.ErrorLevel {
		klog.ErrorS(nil, "etcd: "+entry.Message, keysAndValues...)
	} else {
		klog.InfoS("etcd: "+entry.Message, keysAndValues...)
	}
	return nil
}

func (c klogCore) Sync() error {
	klog.Flush()
	return nil
}
