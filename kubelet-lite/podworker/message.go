// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"bytes"
	"io"
	"os"
	"strings"

	v1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

// Limits of termination messages, from the API's documentation.
const (
	maxMessage      = 4096 // bytes of a container's own message
	maxFallback     = 2048 // bytes of its log instead
	maxFallbackLine = 80
)

// message is what a container left when it ended: its termination message file, or where it asked for that and failed, the end of
// its log. It is read once for each container.
func (w *worker) message(c pleg.Container) string {
	if c.State != pleg.Exited {
		return ""
	}
	if text, ok := w.messages[c.ID]; ok {
		return text
	}
	text := tail(c.MessageFile, maxMessage, false)
	if text == "" && c.ExitCode != 0 && c.MessagePolicy == string(v1.TerminationMessageFallbackToLogsOnError) {
		text = logTail(c.LogPath)
	}
	if c.Message != "" && text != "" {
		text = c.Message + ": " + text
	} else if text == "" {
		text = c.Message
	}
	put(&w.messages, c.ID, text)
	return text
}

// tail reads the first, or with end the last, bytes of a file; nothing where there is none.
func tail(path string, limit int64, end bool) string {
	if path == "" {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	} else if end && info.Size() > limit {
		if _, err := f.Seek(-limit, io.SeekEnd); err != nil {
			return ""
		}
	}
	content, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(content), "\uFFFD")
}

// logTail returns the last lines of a log in the CRI's format, without their marks.
func logTail(path string) string {
	// Marks take about 50 bytes a line.
	raw := tail(path, 4*maxFallback+maxFallbackLine*64, true)
	var out bytes.Buffer
	for line := range strings.Lines(raw) {
		parts := strings.SplitN(line, " ", 4) // time, stream, tag, text
		if len(parts) < 4 || (parts[1] != "stdout" && parts[1] != "stderr") {
			continue
		}
		if parts[2] == "P" { // a part of a longer line
			out.WriteString(strings.TrimSuffix(parts[3], "\n"))
		} else {
			out.WriteString(parts[3])
		}
	}
	lines := strings.SplitAfter(out.String(), "\n")
	if len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) > maxFallbackLine {
		lines = lines[len(lines)-maxFallbackLine:]
	}
	text := strings.Join(lines, "")
	if len(text) > maxFallback {
		text = text[len(text)-maxFallback:]
	}
	return text
}
