// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// TestMain is also the programs that tests break things for.
func TestMain(m *testing.M) {
	RunIfChild()
	switch os.Getenv("FAULT_TEST_PROGRAM") {
	case "clock":
		tellTime()
	case "disk":
		if err := writeAndSync(os.Args[1]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// tellTime answers each line with the time of day, and with how much time has gone by.
func tellTime() {
	began := time.Now()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(time.Now().Unix(), time.Since(began).Nanoseconds())
	}
}

func writeAndSync(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func TestClock(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the clock of a process can be set on amd64 alone")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "FAULT_TEST_PROGRAM=clock")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	}()
	lines := bufio.NewScanner(out)
	ask := func() (ahead, gone int64) {
		if _, err := io.WriteString(in, "?\n"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() {
			t.Fatal("the process has ended")
		}
		day, passed, _ := strings.Cut(lines.Text(), " ")
		seconds, err := strconv.ParseInt(day, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if gone, err = strconv.ParseInt(passed, 10, 64); err != nil {
			t.Fatal(err)
		}
		return seconds - time.Now().Unix(), gone
	}
	_, last := ask()
	clock, err := TakeClock(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer clock.Close()
	for _, offset := range []time.Duration{0, time.Hour, -time.Hour, 0} {
		if err := clock.Set(offset); err != nil {
			t.Fatal(err)
		}
		ahead, gone := ask()
		if want := int64(offset / time.Second); ahead < want-60 || ahead > want+60 {
			t.Errorf("set to %s the clock is %d s ahead", offset, ahead)
		}
		if gone <= last || gone > last+int64(time.Minute) {
			t.Errorf("set to %s, monotonic time goes from %d to %d", offset, last, gone)
		}
		last = gone
	}
}

func TestSlowDisk(t *testing.T) {
	s := NewSlowDisk()
	defer s.Close()
	const delay = 300 * time.Millisecond
	s.SetDelay(delay)
	cmd := exec.CommandContext(t.Context(), os.Args[0], filepath.Join(t.TempDir(), "file"))
	cmd.Env = append(os.Environ(), "FAULT_TEST_PROGRAM=disk")
	began := time.Now()
	if err := s.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < delay || s.Calls.Load() != 1 {
		t.Errorf("a sync takes %s, and %d calls were held up; want one, for %s", took, s.Calls.Load(), delay)
	}
}

// TestTornTail: what is written is what etcd takes for a torn record, and repairs, whatever is left of it.
func TestTornTail(t *testing.T) {
	for seed := range uint64(20) {
		etcd := t.TempDir()
		dir := filepath.Join(etcd, "member", "wal")
		w, err := wal.Create(zap.NewNop(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		const entries = 5
		for i := range uint64(entries) {
			if err := w.Save(&raftpb.HardState{Term: new(uint64(1)), Commit: new(i + 1)}, []*raftpb.Entry{{Term: new(uint64(1)), Index: new(i + 1), Data: make([]byte, 700)}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := TearTail(etcd, rand.New(rand.NewPCG(seed, 0))); err != nil {
			t.Fatal(err)
		}
		read := func() ([]*raftpb.Entry, error) {
			w, err := wal.Open(zap.NewNop(), dir, &walpb.Snapshot{Index: new(uint64(0)), Term: new(uint64(0))})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			_, _, all, err := w.ReadAll()
			return all, err
		}
		if _, err := read(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("seed %d: etcd says of the torn log: %v", seed, err)
		}
		if !wal.Repair(zap.NewNop(), dir) {
			t.Fatalf("seed %d: etcd does not repair the torn log", seed)
		}
		if all, err := read(); err != nil || len(all) != entries {
			t.Errorf("seed %d: the repaired log has %d entries, %v, want %d", seed, len(all), err, entries)
		}
	}
}
