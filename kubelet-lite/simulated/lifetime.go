// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"slices"
	"strconv"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

// Annotations of a pod that say how its containers behave here.
const (
	AnnotationRunFor   = "simulated.hivemind.io/run-for"   // a duration, after which its containers exit
	AnnotationExitCode = "simulated.hivemind.io/exit-code" // with this code; default 0
)

// lifetime says whether a container ends by itself, when and how: as its pod's annotations say, else as its command does where
// that is `sleep`, `true`, `false` or a shell's `exit`; init containers end at once, all others run until stopped.
func lifetime(sandbox *runtimeapi.PodSandboxConfig, config *runtimeapi.ContainerConfig) (after time.Duration, code int32, ends bool) {
	kind := config.Annotations[pleg.AnnotationKind]
	if text := sandbox.GetAnnotations()[AnnotationRunFor]; text != "" && kind == "" {
		if after, err := time.ParseDuration(text); err == nil {
			code, _ := strconv.ParseInt(sandbox.GetAnnotations()[AnnotationExitCode], 10, 32)
			return after, int32(code), true
		}
	}
	words := slices.Concat(config.Command, config.Args)
	if len(words) == 3 && (strings.HasSuffix(words[0], "sh")) && words[1] == "-c" {
		script := words[2]
		for _, step := range strings.FieldsFunc(script, func(r rune) bool { return r == ';' || r == '&' || r == '\n' }) {
			pause, result, known := command(strings.Fields(step))
			if !known {
				if words := strings.Fields(step); len(words) > 0 && words[0] != "echo" {
					return 0, 0, kind == "init"
				}
				continue
			}
			if pause < 0 {
				return 0, 0, false
			}
			after, code = after+pause, result
		}
		return after, code, true
	}
	pause, code, known := command(words)
	switch {
	case !known:
		return 0, 0, kind == "init"
	case pause < 0:
		return 0, 0, false
	}
	return pause, code, true
}

// command knows the few programs whose outcome is their arguments; a negative pause is one without end.
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
		if len(words) != 2 || words[1] == "infinity" || words[1] == "inf" {
			return -1, 0, true
		}
		if seconds, err := strconv.ParseFloat(words[1], 64); err == nil {
			return time.Duration(seconds * float64(time.Second)), 0, true
		}
		if d, err := time.ParseDuration(words[1]); err == nil {
			return d, 0, true
		}
	case "exit":
		if len(words) == 1 {
			return 0, 0, true
		}
		if n, err := strconv.ParseInt(words[1], 10, 32); err == nil {
			return 0, int32(n), true
		}
	}
	return 0, 0, false
}
