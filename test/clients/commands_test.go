// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands are what scripts can use beside the usual ones of testscript:
//
//	[!] kubectl ARGS…             like exec kubectl; so with helm
//	eventually REGEXP PROGRAM…    runs a program again and again until its output matches
//	follow NAME PROGRAM…          starts a program that goes on; NAME is for the next two
//	sees NAME REGEXP [VARIABLE]   waits for a line, after those seen before, and keeps what the first group matched
//	leave NAME                    ends it
//	fetch URL [REGEXP]            gets a page, again and again until it matches
//	keep VARIABLE                 keeps the last output, without space around it
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"kubectl":    program("kubectl"),
	"helm":       program("helm"),
	"eventually": eventually,
	"follow":     follow,
	"sees":       sees,
	"leave":      leave,
	"fetch":      fetch,
	"keep":       keep,
}

func program(name string) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		err := ts.Exec(name, args...)
		if err != nil {
			ts.Logf("[%v]\n", err)
		}
		if (err == nil) == neg {
			ts.Fatalf("%s: want success: %v", name, !neg)
		}
	}
}

func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually REGEXP PROGRAM…")
	}
	pattern := compile(ts, args[0])
	var out []byte
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		out, err = command(ts, args[1:]).CombinedOutput()
		if pattern.Match(out) {
			fmt.Fprintf(ts.Stdout(), "%s", out)
			return
		}
	}
	ts.Fatalf("waited %v in vain for output that matches %q; the last was (%v)\n%s", patience, args[0], err, out)
}

// command is a program with the script's environment, for those that testscript cannot run itself.
func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		if _, err := os.Stat(dir + "/" + args[0]); err == nil {
			cmd = exec.Command(dir+"/"+args[0], args[1:]...)
			break
		}
	}
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "KUBECONFIG", "PATH", "TMPDIR", "NS"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	return cmd
}

func compile(ts *testscript.TestScript, pattern string) *regexp.Regexp {
	compiled, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	return compiled
}

type followersKey struct{}

// followers are the programs of a script that go on, by their name in it.
type followers map[string]*follower

func follow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: follow NAME PROGRAM…")
	}
	f, err := startFollower(command(ts, args[1:]))
	ts.Check(err)
	ts.Value(followersKey{}).(followers)[args[0]] = f
	ts.Defer(f.end)
}

func sees(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: sees NAME REGEXP [VARIABLE]")
	}
	match, err := following(ts, args[0]).wait(compile(ts, args[1]))
	ts.Check(err)
	if len(args) == 3 {
		ts.Setenv(args[2], match[1])
	}
}

func leave(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: leave NAME")
	}
	following(ts, args[0]).end()
}

func following(ts *testscript.TestScript, name string) *follower {
	f, ok := ts.Value(followersKey{}).(followers)[name]
	if !ok {
		ts.Fatalf("nothing is followed as %s", name)
	}
	return f
}

func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: fetch URL [REGEXP]")
	}
	pattern := compile(ts, strings.Join(args[1:], ""))
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var body []byte
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if body, err = get(client, args[0]); err == nil && pattern.Match(body) {
			fmt.Fprintf(ts.Stdout(), "%s", body)
			return
		}
	}
	ts.Fatalf("waited %v in vain for %s: %v\n%s", patience, args[0], err, body)
}

func get(client *http.Client, url string) ([]byte, error) {
	answer, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, answer.Status)
	}
	return body, err
}

func keep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: keep VARIABLE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}
