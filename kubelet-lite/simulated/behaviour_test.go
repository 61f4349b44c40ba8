// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        string // "" for valid
	}{
		{"simulated.hivemind.io/run-for", "1m30s", ""},
		{"simulated.hivemind.io/run-for", "forever", ""},
		{"web.simulated.hivemind.io/run-for", "0s", ""},
		{"simulated.hivemind.io/run-for", "soon", `annotation simulated.hivemind.io/run-for: "soon" is not a duration`},
		{"simulated.hivemind.io/run-for", "-1s", "is not a duration"},
		{"simulated.hivemind.io/exit-code", "137", ""},
		{"simulated.hivemind.io/exit-code", "256", "is not a number from 0 to 255"},
		{"simulated.hivemind.io/crashes", "3", ""},
		{"simulated.hivemind.io/crashes", "often", "is not a number of times"},
		{"simulated.hivemind.io/log-every", "0s", "is not a duration"},
		{"simulated.hivemind.io/cpu", "250m", ""},
		{"simulated.hivemind.io/memory", "much", "is not a quantity"},
		{"simulated.hivemind.io/readiness-probe", "fail after 10s until 20s", ""},
		{"simulated.hivemind.io/readiness-probe", "maybe", "is none of"},
		{"simulated.hivemind.io/run-fro", "1s", `there is no "run-fro"`},
		{"db.simulated.hivemind.io/run-for", "1s", `the pod has no container "db": there are web`},
		{"web.simulated.hivemind.io/pull-delay", "1s", "is of the pod as a whole: write simulated.hivemind.io/pull-delay"},
		{"notsimulated.hivemind.io/anything", "x", ""},
		{"example.com/simulated", "x", ""},
	} {
		err := Validate(map[string]string{c.name: c.value}, []string{"web"})
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s=%q: %v, want %q", c.name, c.value, err, c.want)
		}
	}
}

func TestOutcome(t *testing.T) {
	for text, want := range map[string][]bool{ // at 0 s, 10 s, 20 s
		"succeed":                  {false, false, false},
		"fail":                     {true, true, true},
		"fail after 10s":           {false, true, true},
		"fail until 10s":           {true, false, false},
		"fail after 10s until 20s": {false, true, false},
	} {
		o, err := parseOutcome(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		for i, fails := range want {
			if at := time.Duration(i) * 10 * time.Second; o.failsAt(at) != fails {
				t.Errorf("%q at %v: fails is %v", text, at, !fails)
			}
		}
	}
	for _, text := range []string{"", "fail 10s", "fail after", "fail after x", "fail until 10s after 20s", "fail after 20s until 10s", "fail after 1s after 2s", "succeed after 1s"} {
		if o, err := parseOutcome(text); err == nil {
			t.Errorf("%q is read as %+v", text, o)
		}
	}
}

func TestLifetime(t *testing.T) {
	const prefix = AnnotationPrefix + "/"
	for _, c := range []struct {
		name        string
		kind        string
		job         bool
		command     string
		stdin       bool
		attempt     uint32
		annotations map[string]string
		ends        bool
		want        end
	}{
		{name: "a service runs on"},
		{name: "a Job's container succeeds", job: true, ends: true},
		{name: "an init container succeeds", kind: "init", ends: true},
		{name: "a sidecar of a Job runs on", kind: "sidecar", job: true},
		{name: "sleep", command: "sleep 1.5", ends: true, want: end{after: 1500 * time.Millisecond}},
		{name: "sleep of a Job", job: true, command: "sleep 2s", ends: true, want: end{after: 2 * time.Second}},
		{name: "sleep for ever", job: true, command: "sleep infinity"},
		{name: "false", job: true, command: "/bin/false", ends: true, want: end{code: 1}},
		{name: "script", command: "sh -c,echo a; sleep 1 && exit 3", ends: true, want: end{after: time.Second, code: 3}},
		{name: "script with a program", job: true, command: "sh -c,make all; exit 3", ends: true},
		{name: "a shell of a Job waits for what is typed", job: true, command: "sh", stdin: true},
		{name: "a script of a Job does not", job: true, command: "sh -c,exit 3", stdin: true, ends: true, want: end{code: 3}},
		{name: "run-for", annotations: map[string]string{prefix + "run-for": "5s"}, ends: true, want: end{after: 5 * time.Second}},
		{name: "run-for leaves init containers alone", kind: "init", annotations: map[string]string{prefix + "run-for": "5s"}, ends: true},
		{name: "run-for of one container", kind: "init", annotations: map[string]string{"c." + prefix + "run-for": "5s"}, ends: true, want: end{after: 5 * time.Second}},
		{name: "run-for of another", annotations: map[string]string{"d." + prefix + "run-for": "5s"}},
		{name: "forever", job: true, annotations: map[string]string{prefix + "run-for": "forever"}},
		{name: "exit-code", annotations: map[string]string{prefix + "exit-code": "3", prefix + "exit-message": "why"}, ends: true, want: end{code: 3, message: "why"}},
		{name: "out of memory", annotations: map[string]string{prefix + "exit-reason": "OOMKilled"}, ends: true, want: end{code: 137, reason: "OOMKilled"}},
		{name: "the container's own wins", annotations: map[string]string{prefix + "exit-code": "3", "c." + prefix + "exit-code": "4"}, ends: true, want: end{code: 4}},
		{name: "crashes", annotations: map[string]string{prefix + "crashes": "2"}, attempt: 1, ends: true, want: end{code: 1}},
		{name: "has crashed enough", annotations: map[string]string{prefix + "crashes": "2"}, attempt: 2},
		{name: "a Job has crashed enough", job: true, annotations: map[string]string{prefix + "crashes": "2"}, attempt: 2, ends: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			one := &container{name: "c", kind: c.kind, attempt: c.attempt, box: &sandbox{annotations: ours(c.annotations)}}
			var words []string
			if first, script, ok := strings.Cut(c.command, ","); ok {
				words = append(strings.Fields(first), script)
			} else {
				words = strings.Fields(c.command)
			}
			one.box.job = c.job
			one.setCommand(words, c.stdin)
			if got, ends := one.lifetime(); ends != c.ends || (ends && got != c.want) {
				t.Errorf("ends %v: %+v; want %v: %+v", ends, got, c.ends, c.want)
			}
		})
	}
}
