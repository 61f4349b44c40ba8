// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"github.com/hivemind-project/hivemind/apis/config"
)

// settings are those of a log in dir, with defaults but for what change does.
func settings(t *testing.T, dir string, change func(*config.Audit)) config.Audit {
	t.Helper()
	c := &config.Config{DataDir: dir, Audit: config.Audit{PolicyFile: filepath.Join(dir, "policy.yaml")}}
	if err := os.WriteFile(c.Audit.PolicyFile, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	change(&c.Audit)
	config.SetDefaults(c)
	return c.Audit
}

func TestOffIsNothing(t *testing.T) {
	if log, err := Open(config.Audit{}); log.Backend != nil || log.Rules != nil || err != nil {
		t.Errorf("%+v, %v", log, err)
	}
}

// write logs n events of a kilobyte.
func write(t *testing.T, log Log, n int) {
	t.Helper()
	for range n {
		if !log.Backend.ProcessEvents(&auditinternal.Event{Level: auditinternal.LevelMetadata, AuditID: "id", Verb: strings.Repeat("x", 1<<10)}) {
			t.Fatal("an event was not logged")
		}
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Audit)
		files  int
	}{
		"rotated":          {func(a *config.Audit) { a.LogMaxSize = new(1) }, 3},
		"few are kept":     {func(a *config.Audit) { a.LogMaxSize, a.LogMaxBackup = new(1), new(1) }, 2},
		"never rotated":    {func(a *config.Audit) { a.LogMaxSize = new(0) }, 1},
		"no need to":       {func(a *config.Audit) {}, 1},
		"in a new folder":  {func(a *config.Audit) { a.LogPath = filepath.Join(filepath.Dir(a.PolicyFile), "new", "a.log") }, 1},
		"as lines of text": {func(a *config.Audit) { a.LogFormat = config.AuditFormatLegacy }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := settings(t, t.TempDir(), c.change)
			if !strings.Contains(s.LogPath, "new") {
				if err := os.MkdirAll(filepath.Dir(s.LogPath), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(s.LogPath, []byte("from before\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			log, err := Open(s)
			if err != nil {
				t.Fatal(err)
			}
			write(t, log, 2200)
			log.Backend.Shutdown()
			files := waitFiles(t, filepath.Dir(s.LogPath), c.files)
			lines := 0
			for _, f := range files {
				info, err := os.Stat(f)
				if err != nil || info.Mode() != 0o600 {
					t.Errorf("%s: %v, %v", f, info.Mode(), err)
				}
				text, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				lines += strings.Count(string(text), strings.Repeat("x", 1<<10))
			}
			if name != "few are kept" && lines < 2200 {
				t.Errorf("%d lines of 2200", lines)
			}
		})
	}
}

// waitFiles returns the logs in dir once there are n: those too many are removed in the background.
func waitFiles(t *testing.T, dir string, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(dir, "a*.log"))
		if err == nil && len(files) == n {
			return files
		}
		if time.Now().After(deadline) {
			t.Fatalf("files %v, %v; want %d", files, err, n)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	s := settings(t, dir, func(a *config.Audit) { a.LogPath = filepath.Join(a.PolicyFile, "audit.log") })
	if _, err := Open(s); err == nil || !strings.Contains(err.Error(), "audit.logPath: open the audit log: mkdir "+s.PolicyFile) {
		t.Errorf("a log below a file: %v", err)
	}
	if err := os.WriteFile(s.PolicyFile, []byte("kind: Policy"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s); err == nil || !strings.Contains(err.Error(), s.PolicyFile+": apiVersion") {
		t.Errorf("a broken policy: %v", err)
	}
}
