// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

func TestTerminationMessage(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	log := file("log", "2026-01-01T00:00:00Z stdout F first\n2026-01-01T00:00:00Z stderr P sec\n2026-01-01T00:00:00Z stderr F ond\n")
	long := file("long", strings.Repeat("x", 5000))
	many := file("many", strings.Repeat("2026-01-01T00:00:00Z stdout F line\n", 500))
	for _, c := range []struct {
		name string
		c    pleg.Container
		want string
	}{
		{"file", pleg.Container{MessageFile: file("m", "done")}, "done"},
		{"too long", pleg.Container{MessageFile: long}, strings.Repeat("x", 4096)},
		{"none", pleg.Container{MessageFile: filepath.Join(dir, "absent")}, ""},
		{"log after failure", pleg.Container{ExitCode: 1, MessagePolicy: "FallbackToLogsOnError", LogPath: log}, "first\nsecond\n"},
		{"no log after success", pleg.Container{MessagePolicy: "FallbackToLogsOnError", LogPath: log}, ""},
		{"no log by default", pleg.Container{ExitCode: 1, MessagePolicy: "File", LogPath: log}, ""},
		{"last lines", pleg.Container{ExitCode: 1, MessagePolicy: "FallbackToLogsOnError", LogPath: many}, strings.Repeat("line\n", 80)},
		{"the runtime's own", pleg.Container{Message: "failed to start"}, "failed to start"},
		{"both", pleg.Container{Message: "failed", MessageFile: file("both", "why")}, "failed: why"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &worker{messages: map[string]string{}}
			c.c.State, c.c.ID = pleg.Exited, c.name
			if got := w.message(c.c); got != c.want {
				t.Errorf("message is %q, want %q", got, c.want)
			}
		})
	}
}
