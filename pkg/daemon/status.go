// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const statusFile = "status.json"

// Status is what hivemindd says of itself; `hivemind status` shows it.
type Status struct {
	PID        int         `json:"pid"`
	Version    string      `json:"version"`
	Started    time.Time   `json:"started"`
	Roles      []string    `json:"roles"`
	Runtime    string      `json:"runtime"`
	Node       string      `json:"node"`
	Nodes      *int        `json:"nodes,omitempty"` // of the simulated runtime, of which Node is the first
	DataDir    string      `json:"dataDir"`
	RunDir     string      `json:"runDir"`
	API        string      `json:"api,omitempty"` // URL
	DNS        string      `json:"dns,omitempty"`
	PodCIDR    string      `json:"podCIDR"`
	Services   string      `json:"serviceCIDR"`
	Kubeconfig string      `json:"kubeconfig,omitempty"`
	LogFile    string      `json:"logFile,omitempty"`
	BinDir     string      `json:"binDir,omitempty"`
	Ready      bool        `json:"ready"`
	Error      string      `json:"error,omitempty"` // why it could not start
	Components []Component `json:"components"`
}

// Component is one part of hivemindd that has become ready.
type Component struct {
	Name string `json:"name"`
	// Took is how long it needed to become ready, in nanoseconds in JSON.
	Took  time.Duration `json:"took"`
	Since time.Time     `json:"since"`
}

// Read returns the status in runDir, of a process that may have ended: see Running. It is nil where there is none.
func Read(runDir string) (*Status, error) {
	raw, err := os.ReadFile(filepath.Join(runDir, statusFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	s := &Status{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("read status %s: %w", filepath.Join(runDir, statusFile), err)
	}
	return s, nil
}

func (s *Status) write() error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(s.RunDir, statusFile)
	if err := os.WriteFile(path+".new", raw, 0o644); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return nil
}
