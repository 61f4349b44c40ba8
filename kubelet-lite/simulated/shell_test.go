// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/envvars"
)

// newShell runs in one pod with the environment A=1 and, at /conf, a volume with the files x and sub/y.
func newShell() *Shell {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: v1.PodSpec{
		Volumes: []v1.Volume{{Name: "conf"}, {Name: "empty"}},
		Containers: []v1.Container{{Name: "c", WorkingDir: "/conf", VolumeMounts: []v1.VolumeMount{
			{Name: "conf", MountPath: "/conf"}, {Name: "empty", MountPath: "/data"}, {Name: "conf", MountPath: "/etc/y", SubPath: "sub/y"}}}},
	}}
	return &Shell{
		Pod: func(string, string) (*v1.Pod, bool) { return pod, true },
		Environment: func(*v1.Pod, *v1.Container, []string) ([]envvars.Var, error) {
			return []envvars.Var{{Name: "A", Value: "1"}}, nil
		},
		Files: func(_ context.Context, _ *v1.Pod, v *v1.Volume) (map[string][]byte, error) {
			if v.Name == "empty" {
				return nil, nil
			}
			return map[string][]byte{"x": []byte("in x\n"), "sub/y": []byte("in y\n")}, nil
		},
	}
}

func TestShell(t *testing.T) {
	at := place{pod: "web", namespace: "default", container: "c", ip: "10.64.0.2"}
	for script, want := range map[string]struct {
		code int
		out  string
		errs string
	}{
		`echo a  "b  c" 'd $A' \e$A`:                {0, "a b  c d $A e1\n", ""},
		`echo "$A ${A} \$A $MISSING."`:              {0, "1 1 $A .\n", ""},
		`echo -n a; echo b`:                         {0, "ab\n", ""},
		"echo a # not this\necho b":                 {0, "a\nb\n", ""},
		`true && echo yes || echo no`:               {0, "yes\n", ""},
		`false && echo yes || echo no`:              {0, "no\n", ""},
		`false; exit`:                               {1, "", ""},
		`exit 4; echo unreached`:                    {4, "", ""},
		`cat x sub/y /etc/y`:                        {0, "in x\nin y\nin y\n", ""},
		`cat missing 2>/dev/null || echo none`:      {0, "none\n", "cat: can't open 'missing': No such file or directory\n"},
		`ls; ls /conf/sub; ls /data; ls /`:          {0, "sub\nx\ny\nconf\ndata\netc\n", ""},
		`ls /nowhere`:                               {1, "", "ls: /nowhere: No such file or directory\n"},
		`test -f x && test -d sub && [ -e /data ]`:  {0, "", ""},
		`test -f sub`:                               {1, "", ""},
		`[ "$A" = 1 ] && [ "$A" != 2 ] && [ -n x ]`: {0, "", ""},
		`printenv A B`:                              {1, "1\n", ""},
		`hostname; whoami; pwd; id`:                 {0, "web\n65532\n/conf\nuid=65532 gid=0\n", ""},
		`cat /etc/hosts`:                            {0, "127.0.0.1\tlocalhost\n10.64.0.2\tweb\n", ""},
		`sh -c "echo nested; exit 2"`:               {2, "nested\n", ""},
		`sleep x`:                                   {1, "", "sleep: usage: sleep SECONDS\n"},
		`echo "a`:                                   {2, "", "sh: unterminated quoted string\n"},
		`echo a > file`:                             {2, "", "sh: a simulated container has no files to write to\n"},
		`ls | wc`:                                   {2, "", `sh: "|": a simulated shell runs plain commands, with ;, && and || between them` + "\n"},
		`curl example.com`:                          {127, "", "curl: not found: a simulated container has no programs but " + strings.Join(programs, ", ") + "\n"},
	} {
		var out, errs bytes.Buffer
		code := newShell().run(t.Context(), at, []string{"sh", "-c", script}, nil, &out, &errs, false)
		if code != want.code || out.String() != want.out || errs.String() != want.errs {
			t.Errorf("%s\nexit code %d, %q, %q\nwant      %d, %q, %q", script, code, out.String(), errs.String(), want.code, want.out, want.errs)
		}
	}
}

func TestTerminal(t *testing.T) {
	var out bytes.Buffer
	typed := strings.NewReader("ecx\x7fho a\recho\x03exit 3\r")
	code := newShell().run(t.Context(), place{container: "c"}, []string{"sh"}, typed, &out, nil, true)
	if want := "$ ecx\b \bho a\r\na\r\n$ echo^C\r\n$ exit 3\r\n"; code != 3 || out.String() != want {
		t.Errorf("exit code %d, %q; want %q", code, out.String(), want)
	}
	out.Reset()
	if code := newShell().run(t.Context(), place{container: "c"}, []string{"bash", "-l"}, strings.NewReader("false\r\x04"), &out, nil, true); code != 1 {
		t.Errorf("exit code %d, %q", code, out.String())
	}
}

func TestJournal(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(j journal, now time.Duration) string {
		var lines []string
		for i := range j.count(begin.Add(now)) {
			lines = append(lines, j.at(i).Sub(begin).String()+" "+j.line(i))
		}
		return strings.Join(lines, ", ")
	}
	for _, tt := range []struct {
		name    string
		journal journal
		now     time.Duration
		want    string
	}{
		{"not started", journal{lines: []string{"a"}}, time.Second, ""},
		{"once", journal{lines: []string{"a", "b"}, started: begin}, time.Hour, "0s a, 0s b"},
		{"again and again", journal{lines: []string{"a", "b"}, every: time.Second, started: begin}, 2500 * time.Millisecond, "0s a, 0s b, 1s a, 1s b, 2s a, 2s b"},
		{"until the end", journal{lines: []string{"a"}, every: time.Second, started: begin, ended: begin.Add(1500 * time.Millisecond), last: "z"}, time.Hour, "0s a, 1s a, 1.5s z"},
	} {
		if got := at(tt.journal, tt.now); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
