// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/envvars"
)

// Exit codes of a shell.
const (
	misuse    = 2
	notFound  = 127
	cancelled = 130
)

// Shell is what commands run in: a few programs (programs.go), the container's environment, and the files of its volumes that
// are made from objects of the API. It serves to look at what a chart or operator has configured. It has no files of its own,
// no pipes and no redirections but to /dev/null.
type Shell struct {
	// Pod returns a pod as the API shows it.
	Pod func(namespace, name string) (*v1.Pod, bool)
	// Environment returns a container's variables.
	Environment func(pod *v1.Pod, container *v1.Container, podIPs []string) ([]envvars.Var, error)
	// Files returns what a volume of the pod holds, by path.
	Files func(ctx context.Context, pod *v1.Pod, volume *v1.Volume) (map[string][]byte, error)
}

// session is one command in one container.
type session struct {
	shell          *Shell
	ctx            context.Context
	at             place
	pod            *v1.Pod
	container      *v1.Container
	env            []envvars.Var
	stdin          *bufio.Reader // nil where there is none
	stdout, stderr io.Writer
}

// run runs a command and returns its exit code.
func (s *Shell) run(ctx context.Context, at place, command []string, stdin io.Reader, stdout, stderr io.Writer, tty bool) int {
	if tty {
		stdout = newlines{stdout}
		stderr = stdout
	}
	e := &session{shell: s, ctx: ctx, at: at, stdout: stdout, stderr: stderr}
	if stdin != nil {
		e.stdin = bufio.NewReader(stdin)
	}
	if err := e.enter(); err != nil {
		return e.fail(1, "%v", err)
	}
	if len(command) > 0 && isShell(command[0]) && (len(command) == 1 || command[1] != "-c") {
		if len(command) > 1 && !strings.HasPrefix(command[1], "-") {
			return e.fail(notFound, "sh: can't open '%s': a simulated container has no scripts", command[1])
		}
		return e.interactive(tty)
	}
	return e.execute(command)
}

// enter finds the container and its environment.
func (e *session) enter() error {
	pod, ok := e.shell.Pod(e.at.namespace, e.at.pod)
	if !ok {
		return fmt.Errorf("pod %s/%s is not there any more", e.at.namespace, e.at.pod)
	}
	e.pod = pod
	for _, list := range [][]v1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		if i := slices.IndexFunc(list, func(c v1.Container) bool { return c.Name == e.at.container }); i >= 0 {
			e.container = &list[i]
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if c := &pod.Spec.EphemeralContainers[i]; c.Name == e.at.container {
			plain := v1.Container(c.EphemeralContainerCommon)
			e.container = &plain
		}
	}
	if e.container == nil {
		return fmt.Errorf("pod %s/%s has no container %s", pod.Namespace, pod.Name, e.at.container)
	}
	var ips []string
	if e.at.ip != "" {
		ips = []string{e.at.ip}
	}
	vars, err := e.shell.Environment(pod, e.container, ips)
	if err != nil {
		return err
	}
	e.env = []envvars.Var{{Name: "PATH", Value: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, {Name: "HOSTNAME", Value: e.hostname()}}
	for _, v := range vars {
		e.set(v.Name, v.Value)
	}
	if e.lookup("HOME") == "" {
		e.set("HOME", "/")
	}
	return nil
}

func (e *session) set(name, value string) {
	for i := range e.env {
		if e.env[i].Name == name {
			e.env[i].Value = value
			return
		}
	}
	e.env = append(e.env, envvars.Var{Name: name, Value: value})
}

func (e *session) lookup(name string) string {
	for _, v := range e.env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// hostname is the pod's name, unless its spec has another.
func (e *session) hostname() string {
	switch {
	case e.pod.Spec.HostNetwork:
		return e.pod.Spec.NodeName
	case e.pod.Spec.Hostname != "":
		return e.pod.Spec.Hostname
	}
	return e.pod.Name
}

// script runs commands that are separated by newlines, ;, && and ||. exited says that one of them was exit.
func (e *session) script(text string) (code int, exited bool) {
	tokens, err := split(text, e.lookup)
	if err != nil {
		return e.fail(misuse, "sh: %v", err), false
	}
	var words []string
	skip := false
	for _, t := range append(tokens, token{operator: ";"}) {
		if t.operator == "" {
			words = append(words, t.word)
			continue
		}
		if len(words) > 0 && !skip {
			if words[0] == "exit" {
				return e.exitCode(words[1:], code), true
			}
			code = e.execute(words)
		}
		words = nil
		skip = (t.operator == "&&" && code != 0) || (t.operator == "||" && code == 0)
	}
	return code, false
}

// interactive runs what is typed, line by line, until there is no more.
func (e *session) interactive(tty bool) int {
	if e.stdin == nil {
		return 0
	}
	code := 0
	for {
		line, err := e.readLine(tty)
		if err != nil && line == "" {
			return code
		}
		exited := false
		if code, exited = e.script(line); exited || e.ctx.Err() != nil {
			return code
		}
	}
}

func isShell(program string) bool {
	return slices.Contains([]string{"sh", "bash", "ash", "dash"}, program[strings.LastIndexByte(program, '/')+1:])
}

func (e *session) fail(code int, format string, args ...any) int {
	fmt.Fprintf(e.stderr, format+"\n", args...)
	return code
}

// token is a word or what stands between commands.
type token struct{ word, operator string }

// split reads words with quotes, backslashes and variables, as a shell does. Redirections to /dev/null are left out.
func split(text string, lookup func(string) string) ([]token, error) {
	var tokens []token
	var word strings.Builder
	started := false
	end := func() {
		if started {
			tokens = append(tokens, token{word: word.String()})
		}
		word.Reset()
		started = false
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ' ' || c == '\t':
			end()
		case c == '\n' || c == ';':
			end()
			tokens = append(tokens, token{operator: ";"})
		case strings.HasPrefix(text[i:], "&&") || strings.HasPrefix(text[i:], "||"):
			end()
			tokens = append(tokens, token{operator: text[i : i+2]})
			i++
		case c == '|' || c == '&' || c == '`' || c == '<' || c == '(' || c == ')':
			return nil, fmt.Errorf("%q: a simulated shell runs plain commands, with ;, && and || between them", string(c))
		case c == '>':
			n, err := toNull(text[i:])
			if err != nil {
				return nil, err
			}
			if descriptor := word.String(); descriptor == "1" || descriptor == "2" {
				word.Reset()
				started = false
			}
			end()
			i += n - 1
		case c == '#' && !started:
			rest := strings.IndexByte(text[i:], '\n')
			if rest < 0 {
				rest = len(text) - i
			}
			i += rest - 1
		case c == '\'' || c == '"':
			closing := closingQuote(text[i+1:], c)
			if closing < 0 {
				return nil, fmt.Errorf("unterminated quoted string")
			}
			started = true
			quoted := text[i+1 : i+1+closing]
			if c == '"' {
				quoted = expand(quoted, lookup)
			}
			word.WriteString(quoted)
			i += closing + 1
		case c == '\\' && i+1 < len(text):
			started = true
			i++
			word.WriteByte(text[i])
		case c == '$':
			started = true
			value, n := variable(text[i:], lookup)
			word.WriteString(value)
			i += n - 1
		default:
			started = true
			word.WriteByte(c)
		}
	}
	end()
	return tokens, nil
}

// closingQuote finds the end of a quoted string; within double quotes a backslash takes its meaning from the next character.
func closingQuote(text string, quote byte) int {
	for i := 0; i < len(text); i++ {
		if text[i] == quote {
			return i
		}
		if quote == '"' && text[i] == '\\' {
			i++
		}
	}
	return -1
}

// expand replaces variables and escapes in a double-quoted string.
func expand(text string, lookup func(string) string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && strings.IndexByte("\"\\$`", text[i+1]) >= 0:
			i++
			out.WriteByte(text[i])
		case text[i] == '$':
			value, n := variable(text[i:], lookup)
			out.WriteString(value)
			i += n - 1
		default:
			out.WriteByte(text[i])
		}
	}
	return out.String()
}

// variable reads $NAME or ${NAME} at the beginning of text, and returns its value and length.
func variable(text string, lookup func(string) string) (value string, length int) {
	if strings.HasPrefix(text, "${") {
		if end := strings.IndexByte(text, '}'); end > 0 {
			return lookup(text[2:end]), end + 1
		}
	}
	n := 1
	for n < len(text) && (text[n] == '_' || text[n] >= 'a' && text[n] <= 'z' || text[n] >= 'A' && text[n] <= 'Z' || n > 1 && text[n] >= '0' && text[n] <= '9') {
		n++
	}
	if n == 1 {
		return "$", 1
	}
	return lookup(text[1:n]), n
}

// toNull reads a redirection that has no effect here, and returns its length.
func toNull(text string) (int, error) {
	rest := strings.TrimLeft(text, ">")
	for _, target := range []string{"/dev/null", " /dev/null", "&1", "&2"} {
		if strings.HasPrefix(rest, target) {
			return len(text) - len(rest) + len(target), nil
		}
	}
	return 0, fmt.Errorf("a simulated container has no files to write to")
}
