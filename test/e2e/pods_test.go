// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hivemind-project/hivemind/hack/images/build"
	"github.com/hivemind-project/hivemind/test/registry"
)

type pull = registry.Pull

// sleeper is a pod that runs an image, with further lines for its spec and its container.
func sleeper(name, image, spec, container string) string {
	indent := func(text, by string) string {
		if text == "" {
			return ""
		}
		return by + strings.ReplaceAll(text, "\n", "\n"+by) + "\n"
	}
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n  terminationGracePeriodSeconds: 0\n%s  containers:\n  - name: main\n    image: %s\n%s",
		name, indent(spec, "  "), image, indent(container, "    "))
}

const sleep = `command: [sleep, "3600"]`

// reason waits until a pod's container waits for the reason given, and an event says the words.
func (s *suite) reason(t *testing.T, pod, reason string, words ...string) {
	t.Helper()
	eventually(t, pod+" to show "+reason, 60*time.Second, func() error {
		out, err := s.Kubectl(t.Context(), "", "get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")
		if err != nil {
			return err
		}
		return contains(out, reason)
	})
	see(t, s.kubectl(t, "get", "pod", pod), reason)
	eventually(t, "the events of "+pod, 30*time.Second, func() error {
		return contains(s.kubectl(t, "describe", "pod", pod), words...)
	})
}

func (s *suite) running(t *testing.T, pod string) {
	t.Helper()
	s.kubectl(t, "wait", "--for=condition=Ready", "pod/"+pod, "--timeout=60s")
}

// privateImage pulls from a registry that asks for a password: without one, with a wrong one, and with the right one.
func (s *suite) privateImage(t *testing.T) {
	image := build.Private + "/guestbook-web:1"
	const pullSecret = "imagePullSecrets: [{name: pull}]"
	secret := func(password string) {
		t.Helper()
		out := s.kubectl(t, "create", "secret", "docker-registry", "pull", "--docker-server="+build.Private, "--docker-username="+pullUser,
			"--docker-password="+password, "--dry-run=client", "-o", "yaml")
		s.apply(t, out)
	}
	s.apply(t, sleeper("anonymous", image, "", ""))
	s.reason(t, "anonymous", "ErrImagePull", "Failed to pull image \""+image+"\"", "pull access denied", "authorization failed")
	secret("wrong")
	s.apply(t, sleeper("logged-in", image, pullSecret, ""))
	s.reason(t, "logged-in", "ImagePullBackOff", "Back-off pulling image \""+image+"\"")
	if pulls := s.private.Pulls(); len(pulls) > 0 {
		t.Errorf("pulled without the password: %v", pulls)
	}
	secret(pullPassword)
	s.running(t, "logged-in")
	if !slices.ContainsFunc(s.private.Pulls(), func(p pull) bool { return p.Repository == "guestbook-web" && p.User == pullUser }) {
		t.Errorf("pulls %v", s.private.Pulls())
	}
	s.kubectl(t, "delete", "pod/anonymous", "pod/logged-in", "secret/pull")
}

// badPods has each kind of trouble shown in Kubernetes' words, hold nothing else up, and end by itself once its cause is mended.
func (s *suite) badPods(t *testing.T) {
	busybox := build.Public + "/busybox:1"
	missing := build.Public + "/not-there:1"
	s.apply(t, sleeper("no-image", missing, "", sleep))
	s.apply(t, sleeper("no-config", busybox, "", sleep+"\nenvFrom: [{configMapRef: {name: nope}}]"))
	s.apply(t, sleeper("no-secret", busybox, "", sleep+"\nenv: [{name: A, valueFrom: {secretKeyRef: {name: nope, key: a}}}]"))
	s.apply(t, sleeper("no-volume", busybox, "volumes: [{name: v, configMap: {name: nope}}]", sleep+"\nvolumeMounts: [{name: v, mountPath: /v}]"))
	s.apply(t, sleeper("too-large", busybox, "", sleep+"\nresources: {requests: {cpu: 1000}}"))
	s.apply(t, sleeper("fine", busybox, "", sleep))
	s.running(t, "fine")

	s.reason(t, "no-image", "ImagePullBackOff", `Failed to pull image "`+missing+`"`, "not found", "Error: ErrImagePull", `Back-off pulling image "`+missing+`"`)
	s.reason(t, "no-config", "CreateContainerConfigError", `configmap "nope" not found`)
	s.reason(t, "no-secret", "CreateContainerConfigError", `secret "nope" not found`)
	eventually(t, "no-volume's event", 30*time.Second, func() error {
		return contains(s.kubectl(t, "describe", "pod", "no-volume"), "FailedMount", `configmap "nope" not found`)
	})
	const cannot = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	eventually(t, "too-large's event", 30*time.Second, func() error {
		return contains(s.kubectl(t, "describe", "pod", "too-large"), "FailedScheduling", cannot)
	})
	see(t, s.kubectl(t, "get", "pod", "too-large", "-o", `jsonpath={.status.phase} {.status.conditions[?(@.type=="PodScheduled")].reason}`), "Pending Unschedulable")

	s.kubectl(t, "create", "configmap", "nope", "--from-literal=a=b")
	s.kubectl(t, "create", "secret", "generic", "nope", "--from-literal=a=b")
	image := s.images[busybox]
	if err := s.public.Push(t.Context(), missing, image); err != nil {
		t.Fatal(err)
	}
	for _, pod := range []string{"no-config", "no-secret", "no-volume"} {
		s.kubectl(t, "wait", "--for=condition=Ready", "pod/"+pod, "--timeout=150s")
	}
	s.kubectl(t, "wait", "--for=condition=Ready", "pod/no-image", "--timeout=150s")
	s.kubectl(t, "delete", "pod/no-image", "pod/no-config", "pod/no-secret", "pod/no-volume", "pod/too-large", "pod/fine", "configmap/nope", "secret/nope")
}
