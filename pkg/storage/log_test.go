// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestLastWordsNameTheCauseAndTheMend(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "/d/etcd/db", Err: syscall.ENOSPC}
	const again = "start again: hivemind up -d; where that ends like this too, the disk or what is on it is damaged"
	for _, c := range []struct {
		message string
		fields  []zapcore.Field
		want    string
	}{
		{"failed to commit tx", []zapcore.Field{zap.Int("n", 1), zap.Error(full)},
			"storage in /d/etcd: failed to commit tx: write /d/etcd/db: no space left on device; free space on /d/etcd, then: hivemind up -d"},
		{"quota", []zapcore.Field{zap.Error(syscall.EDQUOT)}, "storage in /d/etcd: quota: disk quota exceeded; free space on /d/etcd, then: hivemind up -d"},
		{"raft: no space left on device", nil, "storage in /d/etcd: raft: no space left on device; free space on /d/etcd, then: hivemind up -d"},
		{"failed to save", []zapcore.Field{zap.Error(errors.New("input/output error"))}, "storage in /d/etcd: failed to save: input/output error; " + again},
		{"unexpected", nil, "storage in /d/etcd: unexpected; " + again},
	} {
		if got := (lastWords{dir: "/d/etcd"}).explain(c.message, c.fields).Error(); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.message, got, c.want)
		}
	}
}
