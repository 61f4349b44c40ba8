// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
)

// newLogger returns a zap logger, which etcd insists on, that hands warnings and errors to klog and drops the rest.
func newLogger() *zap.Logger {
	return zap.New(klogCore{LevelEnabler: zapcore.WarnLevel})
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
	if c.Enabled(entry.Level) && !expected[entry.Message] {
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
