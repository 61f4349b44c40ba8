// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// guestbook applies the sample and uses it in every way that it can be reached.
func (s *suite) guestbook(t *testing.T) {
	s.kubectl(t, "apply", "-f", "config/samples/guestbook.yaml")
	s.kubectl(t, "rollout", "status", "deploy/redis", "--timeout=120s")
	s.kubectl(t, "rollout", "status", "deploy/web", "--timeout=120s")
	for _, repository := range []string{"redis", "guestbook-web"} {
		if !slices.ContainsFunc(s.public.Pulls(), func(p pull) bool { return p.Repository == repository && p.User == "" }) {
			t.Errorf("%s was not pulled anonymously: %v", repository, s.public.Pulls())
		}
	}
	see(t, s.kubectl(t, "get", "pvc", "redis-data"), "Bound")

	addr := s.kubectl(t, "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	nodePort := "http://" + net.JoinHostPort(addr, "30080")
	clusterIP := "http://" + s.kubectl(t, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	eventually(t, "an answer on the NodePort", 10*time.Second, func() error {
		answer, err := http.PostForm(nodePort+"/messages", url.Values{"message": {"first"}})
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusCreated {
			return fmt.Errorf("status %s", answer.Status)
		}
		return nil
	})
	var messages []string
	if err := json.Unmarshal([]byte(get(t, clusterIP+"/messages")), &messages); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(messages, "first") {
		t.Errorf("the ClusterIP knows of messages %q", messages)
	}
	see(t, get(t, "http://127.0.0.1:30080/info"), `"title":"Hivemind guestbook"`, `"motd":"Everything on this page runs on one machine."`, `"version":"1"`)
	pods := map[string]bool{}
	eventually(t, "answers from both pods", 10*time.Second, func() error {
		body, err := fetch(clusterIP + "/info")
		if err != nil {
			return err
		}
		var info struct{ Pod string }
		if err := json.Unmarshal([]byte(body), &info); err != nil {
			return err
		}
		if pods[info.Pod] = true; len(pods) < 2 {
			return fmt.Errorf("%v", pods)
		}
		return nil
	})

	s.apply(t, tools)
	s.kubectl(t, "wait", "--for=condition=Ready", "pod/tools", "--timeout=60s")
	ip := strings.TrimPrefix(clusterIP, "http://")
	see(t, s.kubectl(t, "exec", "tools", "--", "nslookup", "web.default.svc.cluster.local"), ip)
	for _, name := range []string{"web", "web.default", "web.default.svc", "web.default.svc.cluster.local"} {
		see(t, s.kubectl(t, "exec", "tools", "--", "wget", "-q", "-O-", "http://"+name+"/messages"), "first")
	}
	see(t, s.kubectl(t, "exec", "tools", "--", "wget", "-q", "-O-", nodePort+"/messages"), "first")
}

// tools is a pod to work from.
const tools = `
apiVersion: v1
kind: Pod
metadata: {name: tools}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: tools
    image: registry.hivemind.local/busybox:1
    command: [sh, -c, 'n=0; while true; do n=$((n+1)); echo line $n; sleep 1; done']
`

// get fetches what has to be there.
func get(t *testing.T, url string) string {
	t.Helper()
	body, err := fetch(url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// fetch gets a page on a new connection.
func fetch(url string) (string, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s\n%s", url, answer.Status, body)
	}
	return string(body), err
}

// shows is an error where a page lacks one of the parts.
func shows(url string, parts ...string) error {
	body, err := fetch(url)
	if err != nil {
		return err
	}
	return contains(body, parts...)
}
