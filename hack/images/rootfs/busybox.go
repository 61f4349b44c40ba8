// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BusyBox is the program of the package busybox-static in t, in a directory such as "bin/", with a hard link for each command that it is.
func (t Tree) BusyBox(ctx context.Context, dir string) (Tree, error) {
	program, ok := t["bin/busybox"]
	if !ok {
		return nil, fmt.Errorf("the package busybox-static has no bin/busybox")
	}
	commands, err := busyBoxCommands(ctx, program.Data)
	if err != nil {
		return nil, fmt.Errorf("list the commands of busybox: %w", err)
	}
	out := Tree{dir + "busybox": program}
	for _, command := range commands {
		if command != "busybox" {
			out[dir+command] = HardLink(dir + "busybox")
		}
	}
	return out, nil
}

// busyBoxCommands asks the program itself.
func busyBoxCommands(ctx context.Context, program []byte) ([]string, error) {
	temp, err := os.MkdirTemp("", "busybox-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	file := filepath.Join(temp, "busybox")
	if err := os.WriteFile(file, program, 0o755); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, file, "--list").Output()
	return strings.Fields(string(out)), err
}
