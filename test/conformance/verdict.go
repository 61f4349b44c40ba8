// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// spec is what is read of a node in Ginkgo's JSON report: a test, or what runs before and after all tests.
type spec struct {
	ContainerHierarchyTexts []string
	LeafNodeType            string
	LeafNodeText            string
	State                   string // passed, skipped, failed, panicked, timedout, interrupted, aborted
	RunTime                 time.Duration
	Failure                 struct {
		Message        string // of a skipped test too
		ForwardedPanic string
	}
}

func (s spec) name() string {
	return strings.Join(append(s.ContainerHierarchyTexts, s.LeafNodeText), " ")
}

// readReport returns the specs of a report file. The report tells of all 7,500 specs of the suite, which is 12 MB: a tenth of a second.
func readReport(path string) ([]spec, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var reports []struct{ SpecReports []spec }
	if err := json.NewDecoder(bufio.NewReaderSize(f, 1<<20)).Decode(&reports); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	var specs []spec
	for _, r := range reports {
		specs = append(specs, r.SpecReports...)
	}
	return specs, nil
}

// verdict finds in a report what came of a test. What failed before the test began counts as its failure.
func verdict(specs []spec, name string) (outcome, string, time.Duration) {
	setUp := ""
	for _, s := range specs {
		if s.LeafNodeType != "It" {
			if s.Failure.Message != "" && setUp == "" {
				setUp = s.LeafNodeType + ": " + headline(s.Failure.Message)
			}
			continue
		}
		if s.name() != name || s.State == "skipped" && s.Failure.Message == "" {
			continue
		}
		switch why := headline(s.Failure.Message); s.State {
		case "passed":
			return passed, "", s.RunTime
		case "skipped":
			return skipped, why, s.RunTime
		case "timedout":
			return timedOut, why, s.RunTime
		case "panicked":
			return failed, "panic: " + headline(s.Failure.ForwardedPanic), s.RunTime
		default:
			return failed, why, s.RunTime
		}
	}
	if setUp != "" {
		return failed, setUp, 0
	}
	return failed, "the suite lists this test but has none of this name", 0
}

var (
	pointer = regexp.MustCompile(` \| 0x[0-9a-f]+`)
	// fraction is that of a duration, which differs each time.
	fraction = regexp.MustCompile(`(\d+)\.\d+s\b`)
	// dump is a Go value of an API type, printed in one line.
	dump = regexp.MustCompile(`[&*\[\]]*\b\w*v\d\w*\.\w+\{.*`)
	// heading is a line that says nothing without the next one.
	heading = regexp.MustCompile(`([:{\[]|^\W+|^Expected|^Timed out after .*|^Told to stop trying after .*|^(Unexpected|unexpected) error.*)$`)
)

// headline is what a failure says in one line of at most 240 characters: its first line, and those after it while they are headings. What matchers print between their
// words, indented, is kept where it is short.
func headline(message string) string {
	var words, inner []string
	flush := func() {
		if len(inner) > 3 || len(strings.Join(inner, " ")) > 120 {
			inner = []string{"…"}
		}
		words, inner = append(words, inner...), nil
	}
	for line := range strings.Lines(message) {
		text := strings.TrimSpace(line)
		if text == "" {
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			inner = append(inner, text)
			continue
		}
		flush()
		words = append(words, text)
		if !heading.MatchString(text) {
			break
		}
	}
	flush()
	out := strings.Join(strings.Fields(strings.Join(words, " ")), " ")
	out = dump.ReplaceAllString(fraction.ReplaceAllString(pointer.ReplaceAllString(out, ""), "${1}s"), "…")
	if utf8.RuneCountInString(out) > 240 {
		out = string([]rune(out)[:239]) + "…"
	}
	return out
}

var stepLine = regexp.MustCompile(`^\s*STEP: (.*?)(?: - \S+:\d+)?(?: @ .*)?$`)

// lastStep finds in a test's output the last step that it said it began before it was stopped; "" where it said none.
func lastStep(output io.Reader) string {
	step := ""
	scanner := bufio.NewScanner(output)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		line := scanner.Text()
		if strings.Contains(line, "[TIMEDOUT]") || strings.Contains(line, "[INTERRUPTED]") {
			break
		}
		if match := stepLine.FindStringSubmatch(line); match != nil {
			step = match[1]
		}
	}
	return step
}
