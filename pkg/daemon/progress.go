// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Event is one line of JSON that hivemindd writes to the descriptor that --progress-fd names: a component that became
// ready, and last either Ready or Error.
type Event struct {
	Component string        `json:"component,omitempty"`
	Took      time.Duration `json:"took,omitempty"` // nanoseconds
	Ready     bool          `json:"ready,omitempty"`
	Error     string        `json:"error,omitempty"`
}

// Reporter keeps the status file and tells whoever started this process how the start goes.
// It may be used by several goroutines.
type Reporter struct {
	now func() time.Time

	mu     sync.Mutex
	status Status
	out    io.WriteCloser
}

// NewReporter writes status to its RunDir now and with every step. out, which may be nil, gets the events and is closed
// after the last: a reader that has gone away is no failure.
func NewReporter(status Status, out io.WriteCloser) (*Reporter, error) {
	r := &Reporter{status: status, out: out, now: time.Now}
	return r, r.status.write()
}

// Component tells that a component has become ready; it is a component.Progress once its error is dealt with.
func (r *Reporter) Component(name string, took time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Components = append(r.status.Components, Component{Name: name, Took: took, Since: r.now()})
	r.tell(Event{Component: name, Took: took})
	return r.status.write()
}

// Ready tells that all of the process works.
func (r *Reporter) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Ready = true
	err := r.status.write()
	r.tell(Event{Ready: true})
	r.end()
	return err
}

// Failed tells why the process ends: before it was ready, or by an accident after that.
func (r *Reporter) Failed(cause error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Ready, r.status.Error = false, cause.Error()
	err := r.status.write()
	r.tell(Event{Error: cause.Error()})
	r.end()
	return err
}

func (r *Reporter) tell(e Event) {
	if r.out == nil {
		return
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = r.out.Write(append(line, '\n'))
	}
	if err != nil {
		r.end()
	}
}

func (r *Reporter) end() {
	if r.out != nil {
		r.out.Close()
		r.out = nil
	}
}

// Follow calls each for every event until the last, or until in ends: then the process has ended without a word.
func Follow(in io.Reader, each func(Event)) error {
	for decoder := json.NewDecoder(in); ; {
		var e Event
		if err := decoder.Decode(&e); err != nil {
			return fmt.Errorf("hivemindd ended while it started: %w", err)
		}
		each(e)
		if e.Ready || e.Error != "" {
			return nil
		}
	}
}
