// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// logOptions say what of a log is shown.
type logOptions struct {
	follow bool
	tail   int // lines from the end; -1 for all
}

func newLogsCommand(con *console) *cobra.Command {
	opts := logOptions{}
	cmd := &cobra.Command{
		Use:       "logs [hivemindd|containerd]",
		Short:     "Show the log of hivemindd or containerd",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"hivemindd", "containerd"},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := findCluster(con, cmd)
			if err != nil {
				return err
			}
			name := "hivemindd"
			if len(args) > 0 {
				name = args[0]
			}
			err = showLog(cmd.Context(), con.out, c.Path("logs", name+".log"), opts)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("there is no log of %s in %s\nNext: %s", name, c.DataDir, c.again("up -d"))
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&opts.follow, "follow", "f", false, "go on as the log grows")
	cmd.Flags().IntVarP(&opts.tail, "tail", "n", 100, "how many lines to show from the end; -1 for all")
	return cmd
}

// pollInterval is how often a log that is followed is looked at: a person reads no faster.
const pollInterval = 100 * time.Millisecond

// showLog copies the log at path to out. Following, it goes on until ctx ends, and with the next file once the log was
// rotated.
func showLog(ctx context.Context, out io.Writer, path string, opts logOptions) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	var from int64
	if opts.tail >= 0 {
		if from, err = tailOffset(f, opts.tail); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	for {
		if _, err := io.Copy(out, f); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if !opts.follow {
			return nil
		}
		select {
		case <-ctx.Done():
			// What was written meanwhile may be why this ends.
			if _, err := io.Copy(out, f); err != nil {
				return fmt.Errorf("read log: %w", err)
			}
			return nil
		case <-time.After(pollInterval):
		}
		next, err := rotated(f, path)
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if next == nil {
			continue
		}
		if _, err := io.Copy(out, f); err != nil {
			return errors.Join(fmt.Errorf("read log: %w", err), next.Close())
		}
		f.Close()
		f = next
	}
}

// rotated opens the file at path if it is another than f by now.
func rotated(f *os.File, path string) (*os.File, error) {
	old, err := f.Stat()
	if err != nil {
		return nil, err
	}
	now, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && os.SameFile(old, now) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// tailOffset is where the last n lines of f begin. It reads backwards, a block at a time.
func tailOffset(f *os.File, n int) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return end, err
	}
	block := make([]byte, 64<<10)
	lines := 0
	for at := end; at > 0; {
		size := min(at, int64(len(block)))
		at -= size
		if _, err := f.ReadAt(block[:size], at); err != nil {
			return 0, err
		}
		for text := block[:size]; ; {
			i := bytes.LastIndexByte(text, '\n')
			if i < 0 {
				break
			}
			// The newline that ends the file begins no line.
			if at+int64(i) != end-1 {
				lines++
			}
			if lines == n {
				return at + int64(i) + 1, nil
			}
			text = text[:i]
		}
	}
	return 0, nil
}
