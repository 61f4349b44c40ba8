// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// end is how a container ends by itself.
type end struct {
	after   time.Duration
	at      int64 // nanoseconds since 1970, where it is not now
	code    int32
	reason  string
	message string
}

// kind of a container, as pleg.AnnotationKind has it.
const kindInit = "init"

const reasonOOM = "OOMKilled"

// lifetime says whether a container ends by itself, when and how: as the pod's annotations say, else as its command does where that is
// `sleep`, `true`, `false` or a shell's `exit`. Else init containers and those of a Job succeed at once, and all others run until
// they are stopped.
func (c *container) lifetime() (end, bool) {
	s := c.settings()
	runFor, code, crashes := s.ending(RunFor), s.ending(ExitCode), s.ending(Crashes)
	e := end{reason: s.ending(ExitReason), message: s.ending(ExitMessage)}
	times, err := strconv.Atoi(crashes)
	switch done := crashes != "" && (err != nil || int(c.attempt) >= times); {
	case runFor == Forever:
		return end{}, false
	case done, runFor == "" && code == "" && crashes == "" && e.reason == "":
		natural := c.natural
		if !done {
			natural.message = e.message
		}
		return natural, c.brief
	}
	if d, err := time.ParseDuration(runFor); err == nil {
		e.after = d
	}
	n, err := strconv.ParseInt(code, 10, 32)
	switch {
	case err == nil:
		e.code = int32(n)
	case e.reason == reasonOOM:
		e.code = 137
	case crashes != "":
		e.code = 1
	}
	return e, true
}

// natural is a container's lifetime where nothing is asked of it.
func natural(kind string, job bool, command []string) (e end, ends bool) {
	pause, code, known := program(command)
	switch {
	case !known:
		return end{}, kind == kindInit || (kind == "" && job)
	case pause < 0:
		return end{}, false
	}
	return end{after: pause, code: code}, true
}

// setCommand works out what follows from a container's command.
func (c *container) setCommand(command []string, stdin bool) {
	c.natural, c.brief = natural(c.kind, c.box.job, command)
	if stdin && (len(command) == 0 || (isShell(command[0]) && !slices.Contains(command, "-c"))) {
		c.shell, c.brief = true, false
	}
}

func (c *container) settings() settings {
	return settings{annotations: c.box.annotations, container: c.name, kind: c.kind}
}

// program knows how long a command takes and how it ends, if it is one of the few whose arguments say so. A negative pause is one
// without end.
func program(words []string) (pause time.Duration, code int32, known bool) {
	if len(words) != 3 || !strings.HasSuffix(words[0], "sh") || words[1] != "-c" {
		return command(words)
	}
	for _, step := range strings.FieldsFunc(words[2], func(r rune) bool { return r == ';' || r == '&' || r == '\n' }) {
		words := strings.Fields(step)
		if len(words) == 0 || words[0] == "echo" {
			continue
		}
		wait, result, ok := command(words)
		if !ok {
			return 0, 0, false
		}
		if wait < 0 {
			return wait, 0, true
		}
		pause, code = pause+wait, result
	}
	return pause, code, true
}

// command knows the few programs whose outcome is their arguments.
func command(words []string) (pause time.Duration, code int32, known bool) {
	if len(words) == 0 {
		return 0, 0, false
	}
	switch words[0][strings.LastIndexByte(words[0], '/')+1:] {
	case "true":
		return 0, 0, true
	case "false":
		return 0, 1, true
	case "sleep":
		d, ok := sleepTime(words[1:])
		return d, 0, ok
	case "exit":
		if len(words) == 1 {
			return 0, 0, true
		}
		n, err := strconv.ParseUint(words[1], 10, 8)
		return 0, int32(n), err == nil
	}
	return 0, 0, false
}

// sleepTime reads the argument of sleep: seconds, a duration, or inf.
func sleepTime(words []string) (time.Duration, bool) {
	if len(words) != 1 {
		return 0, false
	}
	if words[0] == "infinity" || words[0] == "inf" {
		return -1, true
	}
	if seconds, err := strconv.ParseFloat(words[0], 64); err == nil && seconds >= 0 {
		return time.Duration(seconds * float64(time.Second)), true
	}
	d, err := time.ParseDuration(words[0])
	return d, err == nil && d >= 0
}
