// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"sync"
	"time"
)

// patience is how long is waited for what has to happen.
const patience = time.Minute

// follower is a program that goes on, and what it has printed.
type follower struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu   sync.Mutex
	text bytes.Buffer
	seen int // bytes of it that were waited for
}

// startFollower starts the program. end is to be called.
func startFollower(cmd *exec.Cmd) (*follower, error) {
	f := &follower{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(f.done)
		if err := cmd.Wait(); err != nil {
			fmt.Fprintf(f, "\n[%v]\n", err)
		}
	}()
	return f, nil
}

// end kills the program where it runs.
func (f *follower) end() {
	_ = f.cmd.Process.Kill() // it may have ended itself
	<-f.done
}

// wait returns the first match, and its groups, in what was printed after the last.
func (f *follower) wait(pattern *regexp.Regexp) ([]string, error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		ended := false
		select {
		case <-f.done:
			ended = true
		default:
		}
		if match := f.next(pattern); match != nil {
			return match, nil
		}
		if ended {
			return nil, fmt.Errorf("%s ended, and nothing new matched %q in\n%s", f.cmd.Args[0], pattern, f)
		}
	}
	return nil, fmt.Errorf("within %v, nothing new matched %q in what %s printed\n%s", patience, pattern, f.cmd.Args[0], f)
}

func (f *follower) next(pattern *regexp.Regexp) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	fresh := f.text.Bytes()[f.seen:]
	at := pattern.FindSubmatchIndex(fresh)
	if at == nil {
		return nil
	}
	f.seen += at[1]
	var groups []string
	for _, group := range pattern.FindSubmatch(fresh) {
		groups = append(groups, string(group))
	}
	return groups
}

// Write takes what the program prints.
func (f *follower) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.Write(p)
}

// String is all that it has printed.
func (f *follower) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.String()
}
