// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hivemind-project/hivemind/pkg/daemon"
	"github.com/hivemind-project/hivemind/pkg/storage"
)

// These variables make the test binary a process that does a scenario and kills itself at a step of it.
const (
	envDir      = "ENCRYPTION_TEST_DIR"
	envScenario = "ENCRYPTION_TEST_SCENARIO"
	envStep     = "ENCRYPTION_TEST_STEP"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envDir); dir != "" {
		if err := victim(place{dir}, os.Getenv(envScenario), os.Getenv(envStep)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// scenarios are what may go on when the process is killed. Each begins with storage as before leaves it.
var scenarios = map[string]struct {
	before    []string // resources that were encrypted; nil for a storage from before encryption
	resources []string
	rotate    bool
}{
	"first start over plain objects":  {nil, []string{"secrets"}, false},
	"rotation":                        {[]string{"secrets"}, []string{"secrets"}, true},
	"resource added":                  {[]string{"configmaps"}, []string{"configmaps", "secrets"}, false},
	"resource taken away":             {[]string{"secrets"}, []string{"configmaps"}, false},
	"rotation, and a resource added":  {[]string{"configmaps"}, []string{"configmaps", "secrets"}, true},
	"rotation of plain objects' time": {nil, []string{"secrets"}, true},
}

// victim does the scenario, with all waits for the disk, and kills itself at the step of that number.
func victim(p place, scenario, step string) error {
	last, err := strconv.Atoi(step)
	if err != nil {
		return err
	}
	s := scenarios[scenario]
	ctx := context.Background()
	etcd, err := storage.Start(ctx, storage.Options{Dir: p.etcd(), Name: "test"})
	if err != nil {
		return err
	}
	steps := 0
	e, err := open(ctx, etcd, Options{Dir: filepath.Dir(p.keys()), Resources: s.resources}, func(name string) {
		if steps++; steps == last {
			fmt.Println(name)
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
				panic(err)
			}
			select {} // until the signal is here
		}
	})
	if err == nil {
		err = e.Settle(ctx)
	}
	if err == nil && s.rotate {
		err = e.Rotate(ctx, nil)
	}
	return err
}

// TestKilledAtEveryStep: whenever the process is killed, the next start can read every object before it does anything else, and goes on to
// where the scenario leads.
func TestKilledAtEveryStep(t *testing.T) {
	for name, s := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := newPlace(t)
			names := make([]string, pageSize+3)
			for i := range names {
				names[i] = fmt.Sprintf("s%02d", i)
			}
			etcd := origin.start(t)
			if s.before != nil {
				e, err := origin.encrypt(t.Context(), etcd, nil, s.before...)
				if err := errors.Join(err, e.Settle(t.Context())); err != nil {
					t.Fatal(err)
				}
			}
			if err := create(t.Context(), secrets(t, etcd, secretsResource), names...); err != nil {
				t.Fatal(err)
			}
			etcd.Stop()
			var steps []string
			for step := 1; ; step++ {
				p := newPlace(t)
				if err := os.CopyFS(p.dir, os.DirFS(origin.dir)); err != nil {
					t.Fatal(err)
				}
				at, killed := kill(t, p, name, step)
				survives(t, p, at, names, s.resources)
				if !killed {
					break
				}
				steps = append(steps, at)
			}
			t.Logf("killed at each of %q", steps)
			// The fewest that any scenario has: the record before and after, objects in two batches, and the storage's clean-up.
			if len(steps) < 5 || !slices.Contains(steps, "objects rewritten") || !slices.Contains(steps, "forgotten") {
				t.Errorf("killed at %q only", steps)
			}
		})
	}
}

// kill runs the scenario until the step, and returns the step's name, and whether there was such a step.
func kill(t *testing.T, p place, scenario string, step int) (name string, killed bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envDir+"="+p.dir, envScenario+"="+scenario, envStep+"="+strconv.Itoa(step))
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err == nil {
		return "the end", false
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("%v: %s", err, complaints.String())
	}
	return strings.TrimSpace(string(out)), true
}

// survives is the next start.
func survives(t *testing.T, p place, at string, names, resources []string) {
	t.Helper()
	etcd := p.start(t)
	defer etcd.Stop()
	e, err := p.encrypt(t.Context(), etcd, nil, resources...)
	if err != nil {
		t.Fatalf("start after a kill at %q: %v", at, err)
	}
	store := secrets(t, etcd, secretsResource)
	readable(t, store, names...)
	if err := e.Settle(t.Context()); err != nil {
		t.Fatalf("go on after a kill at %q: %v", at, err)
	}
	readable(t, store, names...)
	s := status(t, e)
	if s.Stage != daemon.EncryptionSettled || len(s.Keys) != 1 {
		t.Errorf("after a kill at %q: %+v", at, s)
	}
	encrypted := slices.Contains(resources, "secrets")
	for _, r := range s.Resources {
		if r.Resource == "secrets" && (r.Plain != 0 || r.Encrypted[s.Keys[0].Name] != int64(len(names))) {
			t.Errorf("after a kill at %q: %+v", at, r)
		}
	}
	if keys, err := e.file.load(); err != nil || len(keys) != 1 || keys[0].Name != s.Keys[0].Name {
		t.Errorf("after a kill at %q, the file has %v, %v; want %v", at, keys, err, s.Keys)
	}
	etcd.Stop()
	if found := inFiles(t, filepath.Join(p.etcd(), "member", "snap"), plainText); len(found) == 0 != encrypted {
		t.Errorf("after a kill at %q, plain text is in %v, and should be: %v", at, found, !encrypted)
	}
}
