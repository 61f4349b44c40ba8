// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// AnnotationPrefix begins the annotations of a pod that say how its containers behave here. Those below are followed by a /; with the
// name of a container and a dot before the prefix they are about that container alone, as in web.simulated.hivemind.io/run-for.
// docs/simulated.md is their reference.
const AnnotationPrefix = "simulated.hivemind.io"

// Annotations, after the prefix.
const (
	RunFor         = "run-for"         // a duration, after which a container ends; or forever
	ExitCode       = "exit-code"       // with this code; default 0, and 1 of a container that crashes
	ExitReason     = "exit-reason"     // with this reason, such as OOMKilled, whose exit code is 137 by default
	ExitMessage    = "exit-message"    // and with this as its termination message
	Crashes        = "crashes"         // how many times a container ends so before it stays; default always
	PullDelay      = "pull-delay"      // how long a pull takes
	PullError      = "pull-error"      // why images cannot be pulled
	StartDelay     = "start-delay"     // how long a container takes to start
	StartError     = "start-error"     // why it does not
	StopDelay      = "stop-delay"      // how long it goes on after it was told to end, within its grace
	ReadinessProbe = "readiness-probe" // succeed, fail, fail after 10s, fail until 10s, fail after 10s until 20s
	LivenessProbe  = "liveness-probe"
	StartupProbe   = "startup-probe"
	Log            = "log"       // lines that are logged at the start
	LogEvery       = "log-every" // and then again, each time that this duration has passed
	CPU            = "cpu"       // what the container uses, as a quantity
	Memory         = "memory"
)

// Forever is the value of run-for of a container that does not end by itself.
const Forever = "forever"

// podOnly are the annotations that are not about single containers: images are pulled for a pod.
var podOnly = []string{PullDelay, PullError}

// keys are all annotations, for the one that was meant.
var keys = []string{RunFor, ExitCode, ExitReason, ExitMessage, Crashes, PullDelay, PullError, StartDelay, StartError, StopDelay,
	ReadinessProbe, LivenessProbe, StartupProbe, Log, LogEvery, CPU, Memory}

// ours are the annotations that this package reads; nil where there are none.
func ours(annotations map[string]string) map[string]string {
	var found map[string]string
	for name, value := range annotations {
		if strings.Contains(name, AnnotationPrefix+"/") {
			if found == nil {
				found = map[string]string{}
			}
			found[name] = value
		}
	}
	return found
}

// settings are the annotations that hold for one container.
type settings struct {
	annotations map[string]string
	container   string
	kind        string
}

// get returns the container's own value, or the pod's.
func (s settings) get(key string) (string, bool) {
	if len(s.annotations) == 0 {
		return "", false
	}
	if value, ok := s.annotations[s.container+"."+AnnotationPrefix+"/"+key]; ok {
		return value, true
	}
	value, ok := s.annotations[AnnotationPrefix+"/"+key]
	return value, ok
}

// ending returns a value of those about a container's end. What a pod's say is of its regular containers alone: its init containers are
// to succeed all the same, and its sidecars to stay.
func (s settings) ending(key string) string {
	value, _ := s.get(key)
	if own, ok := s.annotations[s.container+"."+AnnotationPrefix+"/"+key]; ok || s.kind != "" {
		return own
	}
	return value
}

// duration returns a value that Validate has accepted, or what holds without one.
func (s settings) duration(key string, without time.Duration) time.Duration {
	if text, ok := s.get(key); ok {
		if d, err := time.ParseDuration(text); err == nil {
			return d
		}
	}
	return without
}

func (s settings) quantity(key string) resource.Quantity {
	if text, ok := s.get(key); ok {
		if q, err := resource.ParseQuantity(text); err == nil {
			return q
		}
	}
	return resource.Quantity{}
}

// Validate returns an error for the first annotation, by name, that is not known or has a value that cannot be read.
func Validate(annotations map[string]string, containers []string) error {
	if len(annotations) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		before, key, ours := strings.Cut(name, AnnotationPrefix+"/")
		if !ours || (before != "" && !strings.HasSuffix(before, ".")) {
			continue
		}
		if !slices.Contains(keys, key) {
			return fmt.Errorf("annotation %s: there is no %q: there are %s", name, key, strings.Join(keys, ", "))
		}
		if container := strings.TrimSuffix(before, "."); container != "" {
			if slices.Contains(podOnly, key) {
				return fmt.Errorf("annotation %s: %s is of the pod as a whole: write %s/%s", name, key, AnnotationPrefix, key)
			}
			if !slices.Contains(containers, container) {
				return fmt.Errorf("annotation %s: the pod has no container %q: there are %s", name, container, strings.Join(containers, ", "))
			}
		}
		if err := validateValue(key, annotations[name]); err != nil {
			return fmt.Errorf("annotation %s: %w", name, err)
		}
	}
	return nil
}

func validateValue(key, value string) error {
	switch key {
	case RunFor, PullDelay, StartDelay, StopDelay, LogEvery:
		if key == RunFor && value == Forever {
			return nil
		}
		if d, err := time.ParseDuration(value); err != nil || d < 0 || (key == LogEvery && d < time.Millisecond) {
			return fmt.Errorf("%q is not a duration, such as 1m30s or 200ms", value)
		}
	case ExitCode:
		if n, err := strconv.ParseUint(value, 10, 8); err != nil {
			return fmt.Errorf("%q is not a number from 0 to 255", value)
		} else if n > 255 {
			return fmt.Errorf("%q is not a number from 0 to 255", value)
		}
	case Crashes:
		if _, err := strconv.ParseUint(value, 10, 31); err != nil {
			return fmt.Errorf("%q is not a number of times", value)
		}
	case ReadinessProbe, LivenessProbe, StartupProbe:
		_, err := parseOutcome(value)
		return err
	case CPU, Memory:
		if q, err := resource.ParseQuantity(value); err != nil || q.Sign() < 0 {
			return fmt.Errorf("%q is not a quantity, such as 250m or 64Mi", value)
		}
	}
	return nil
}

// outcome says when a probe fails: from after, and before until, both since the container's start. A zero until has no end.
type outcome struct {
	fails        bool
	after, until time.Duration
}

// parseOutcome reads succeed, fail, and fail with after DURATION, until DURATION or both.
func parseOutcome(text string) (outcome, error) {
	wrong := fmt.Errorf(`%q is none of: succeed, fail, "fail after 10s", "fail until 10s", "fail after 10s until 20s"`, text)
	words := strings.Fields(text)
	switch {
	case len(words) == 1 && words[0] == "succeed":
		return outcome{}, nil
	case len(words) == 0 || words[0] != "fail" || len(words)%2 == 0 || len(words) > 5:
		return outcome{}, wrong
	}
	o := outcome{fails: true}
	for i := 1; i < len(words); i += 2 {
		d, err := time.ParseDuration(words[i+1])
		switch {
		case err != nil || d <= 0:
			return outcome{}, wrong
		case words[i] == "after" && o.after == 0 && o.until == 0:
			o.after = d
		case words[i] == "until" && o.until == 0 && d > o.after:
			o.until = d
		default:
			return outcome{}, wrong
		}
	}
	return o, nil
}

// failsAt says whether the probe fails at an age of the container.
func (o outcome) failsAt(age time.Duration) bool {
	return o.fails && age >= o.after && (o.until == 0 || age < o.until)
}
