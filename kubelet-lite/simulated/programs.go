// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	v1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/envvars"
)

// Programs that there are.
var programs = []string{"cat", "date", "echo", "env", "exit", "false", "hostname", "id", "ls", "printenv", "pwd", "sh", "sleep", "test", "true", "whoami"}

// execute runs one program and returns its exit code.
func (e *session) execute(words []string) int {
	if len(words) == 0 {
		return 0
	}
	args := words[1:]
	switch name := words[0][strings.LastIndexByte(words[0], '/')+1:]; name {
	case "true", ":":
		return 0
	case "false":
		return 1
	case "exit":
		return e.exitCode(args, 0)
	case "echo":
		return e.echo(args)
	case "env":
		for _, v := range e.env {
			fmt.Fprintf(e.stdout, "%s=%s\n", v.Name, v.Value)
		}
		return 0
	case "printenv":
		return e.printenv(args)
	case "hostname":
		return e.print(e.hostname())
	case "whoami":
		return e.print(strconv.FormatInt(e.user(), 10))
	case "id":
		return e.print(fmt.Sprintf("uid=%d gid=%d", e.user(), e.group()))
	case "pwd":
		return e.print(path.Join("/", e.container.WorkingDir))
	case "date":
		return e.print(time.Now().UTC().Format(time.UnixDate))
	case "sleep":
		return e.sleep(args)
	case "cat":
		return e.cat(args)
	case "ls":
		return e.list(args)
	case "test", "[":
		return e.test(args)
	case "sh", "bash", "ash", "dash":
		if len(args) < 2 || args[0] != "-c" {
			return e.fail(misuse, "%s: usage: %s -c COMMANDS", name, name)
		}
		code, _ := e.script(args[1])
		return code
	}
	return e.fail(notFound, "%s: not found: a simulated container has no programs but %s", words[0], strings.Join(programs, ", "))
}

func (e *session) print(line string) int {
	fmt.Fprintln(e.stdout, line)
	return 0
}

func (e *session) exitCode(args []string, last int) int {
	if len(args) == 0 {
		return last
	}
	n, err := strconv.ParseUint(args[0], 10, 8)
	if err != nil {
		return e.fail(misuse, "exit: illegal number: %s", args[0])
	}
	return int(n)
}

func (e *session) echo(args []string) int {
	end := "\n"
	if len(args) > 0 && args[0] == "-n" {
		args, end = args[1:], ""
	}
	fmt.Fprint(e.stdout, strings.Join(args, " "), end)
	return 0
}

func (e *session) printenv(args []string) int {
	if len(args) == 0 {
		return e.execute([]string{"env"})
	}
	code := 0
	for _, name := range args {
		i := slices.IndexFunc(e.env, func(v envvars.Var) bool { return v.Name == name })
		if i < 0 {
			code = 1
			continue
		}
		fmt.Fprintln(e.stdout, e.env[i].Value)
	}
	return code
}

// user is whom the container runs as: as its pod says, or as its image.
func (e *session) user() int64 {
	if sc := e.container.SecurityContext; sc != nil && sc.RunAsUser != nil {
		return *sc.RunAsUser
	}
	if sc := e.pod.Spec.SecurityContext; sc != nil && sc.RunAsUser != nil {
		return *sc.RunAsUser
	}
	return imageUser
}

func (e *session) group() int64 {
	if sc := e.container.SecurityContext; sc != nil && sc.RunAsGroup != nil {
		return *sc.RunAsGroup
	}
	if sc := e.pod.Spec.SecurityContext; sc != nil && sc.RunAsGroup != nil {
		return *sc.RunAsGroup
	}
	return 0
}

func (e *session) sleep(args []string) int {
	d, ok := sleepTime(args)
	if !ok {
		return e.fail(1, "sleep: usage: sleep SECONDS")
	}
	if d < 0 {
		<-e.ctx.Done()
		return cancelled
	}
	if pause(e.ctx, d) != nil {
		return cancelled
	}
	return 0
}

func (e *session) cat(args []string) int {
	if len(args) == 0 || (len(args) == 1 && args[0] == "-") {
		if e.stdin != nil {
			// What ends the reading ends the command.
			_, _ = io.Copy(e.stdout, e.stdin)
		}
		return 0
	}
	code := 0
	for _, name := range args {
		content, err := e.read(name)
		if err != nil {
			code = e.fail(1, "cat: %v", err)
			continue
		}
		if _, err := e.stdout.Write(content); err != nil {
			return 1
		}
	}
	return code
}

func (e *session) list(args []string) int {
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") })
	if len(args) == 0 {
		args = []string{"."}
	}
	code := 0
	for _, name := range args {
		entries, err := e.entries(name)
		if err != nil {
			code = e.fail(1, "ls: %v", err)
			continue
		}
		for _, entry := range entries {
			fmt.Fprintln(e.stdout, entry)
		}
	}
	return code
}

// test knows whether paths are there and whether strings are alike.
func (e *session) test(args []string) int {
	if n := len(args); n > 0 && args[n-1] == "]" {
		args = args[:n-1]
	}
	answer := func(yes bool) int {
		if yes {
			return 0
		}
		return 1
	}
	switch {
	case len(args) == 3 && (args[1] == "=" || args[1] == "=="):
		return answer(args[0] == args[2])
	case len(args) == 3 && args[1] == "!=":
		return answer(args[0] != args[2])
	case len(args) == 2 && args[0] == "-n":
		return answer(args[1] != "")
	case len(args) == 2 && args[0] == "-z":
		return answer(args[1] == "")
	case len(args) == 2 && slices.Contains([]string{"-e", "-f", "-r", "-s", "-d"}, args[0]):
		_, fileErr := e.read(args[1])
		if args[0] == "-d" || (args[0] == "-e" && fileErr != nil) {
			_, err := e.entries(args[1])
			return answer(err == nil && (fileErr != nil || args[0] == "-e"))
		}
		return answer(fileErr == nil)
	case len(args) == 1:
		return answer(args[0] != "")
	}
	return e.fail(misuse, "test: unknown condition: %s", strings.Join(args, " "))
}

var errNoFile = errors.New("No such file or directory")

// read returns a file's content.
func (e *session) read(name string) ([]byte, error) {
	full := e.absolute(name)
	files, err := e.files(path.Dir(full))
	if err != nil {
		return nil, err
	}
	content, ok := files[full]
	if !ok {
		return nil, fmt.Errorf("can't open '%s': %w", name, errNoFile)
	}
	return content, nil
}

// entries lists a directory, or names a file.
func (e *session) entries(name string) ([]string, error) {
	full := e.absolute(name)
	files, err := e.files(full)
	if err != nil {
		return nil, err
	}
	if _, ok := files[full]; ok {
		return []string{name}, nil
	}
	found := map[string]bool{}
	within := strings.TrimSuffix(full, "/") + "/"
	known := full == "/"
	for _, m := range e.container.VolumeMounts {
		at := path.Join("/", m.MountPath)
		known = known || at == full
		if rest, ok := strings.CutPrefix(at, within); ok {
			first, _, _ := strings.Cut(rest, "/")
			found[first] = true
		}
	}
	for file := range files {
		if rest, ok := strings.CutPrefix(file, within); ok {
			first, _, _ := strings.Cut(rest, "/")
			found[first] = true
		}
	}
	if len(found) == 0 && !known {
		return nil, fmt.Errorf("%s: %w", name, errNoFile)
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (e *session) absolute(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join("/", e.container.WorkingDir, name)
}

// files returns the files that a container has, by path. Volumes are only read that can have something to do with near.
func (e *session) files(near string) (map[string][]byte, error) {
	hosts := "127.0.0.1\tlocalhost\n"
	if e.at.ip != "" {
		hosts += e.at.ip + "\t" + e.hostname() + "\n"
	}
	files := map[string][]byte{"/etc/hostname": []byte(e.hostname() + "\n"), "/etc/hosts": []byte(hosts)}
	for _, m := range e.container.VolumeMounts {
		at := path.Join("/", m.MountPath)
		if !under(near, at) && !under(at, near) {
			continue
		}
		i := slices.IndexFunc(e.pod.Spec.Volumes, func(v v1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			continue
		}
		content, err := e.shell.Files(e.ctx, e.pod, &e.pod.Spec.Volumes[i])
		if err != nil {
			return nil, err
		}
		for name, data := range content {
			if m.SubPath == "" {
				files[path.Join(at, name)] = data
			} else if rest, ok := strings.CutPrefix("/"+name, path.Join("/", m.SubPath)); ok && (rest == "" || rest[0] == '/') {
				files[path.Join(at, rest)] = data
			}
		}
	}
	return files, nil
}

func under(name, dir string) bool {
	return name == dir || dir == "/" || strings.HasPrefix(name, dir+"/")
}

// readLine reads a command. From a terminal nothing but keys come: they are shown as they are typed.
func (e *session) readLine(tty bool) (string, error) {
	if !tty {
		line, err := e.stdin.ReadString('\n')
		return strings.TrimSuffix(line, "\n"), err
	}
	fmt.Fprint(e.stdout, "$ ")
	var line []rune
	for {
		key, _, err := e.stdin.ReadRune()
		switch {
		case err != nil:
			return "", err
		case key == '\r' || key == '\n':
			fmt.Fprintln(e.stdout)
			return string(line), nil
		case key == 0x03: // Ctrl-C
			fmt.Fprint(e.stdout, "^C\n$ ")
			line = nil
		case key == 0x04 && len(line) == 0: // Ctrl-D
			fmt.Fprintln(e.stdout)
			return "", io.EOF
		case key == 0x7f || key == '\b':
			if len(line) > 0 {
				line = line[:len(line)-1]
				fmt.Fprint(e.stdout, "\b \b")
			}
		case key >= ' ' && key != utf8.RuneError:
			line = append(line, key)
			fmt.Fprint(e.stdout, string(key))
		}
	}
}

// newlines writes lines as a terminal in raw mode needs them.
type newlines struct{ w io.Writer }

func (n newlines) Write(p []byte) (int, error) {
	if _, err := n.w.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}
