// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containerd_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	cri "k8s.io/cri-client/pkg"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/kubelet-lite/containerd"
	"github.com/hivemind-project/hivemind/kubelet-lite/containerd/containerdtest"
)

// startRegistry serves one image, as /app:1, over plain HTTP; with a password if one is given.
func startRegistry(t *testing.T, host, password string) string {
	t.Helper()
	quiet := klog.NewStandardLogger("INFO")
	quiet.SetOutput(io.Discard)
	inner := registry.New(registry.Logger(quiet))
	open := true
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pass, _ := r.BasicAuth(); !open && pass != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})}}
	server.Start()
	t.Cleanup(server.Close)
	at := l.Addr().String()
	ref, err := name.ParseReference(at+"/app:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(1<<16, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	open = password == ""
	return at
}

// Images come over plain HTTP from loopback as it is, from elsewhere if a registry is configured so, with and without a
// password, and by way of a mirror.
func TestPull(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	open, locked := startRegistry(t, "127.0.0.1", ""), startRegistry(t, "127.0.0.1", "secret")
	opts, groups := containerdtest.Options(t)
	opts.Registries = []config.Registry{
		{Host: "registry.example", Endpoints: []string{"http://" + open}},
		{Host: "only.example", Endpoints: []string{"http://127.0.0.1:1", "http://" + open}, Exclusive: true},
	}
	s := containerd.New(opts, groups)
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	images, err := cri.NewRemoteImageServiceBuilder().WithEndpoint("unix://" + s.Socket()).WithConnectionTimeout(time.Minute).Build(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what, image string
		auth        *runtimeapi.AuthConfig
		err         string
	}{
		{"anonymous", open + "/app:1", nil, ""},
		{"with a password", locked + "/app:1", &runtimeapi.AuthConfig{Username: "u", Password: "secret"}, ""},
		{"with a wrong password", locked + "/app:1", &runtimeapi.AuthConfig{Username: "u", Password: "guess"}, "401"},
		{"without the password", locked + "/app:1", nil, "pull access denied"},
		{"no such image", open + "/none:1", nil, "not found"},
		{"by a mirror", "registry.example/app:1", nil, ""},
		{"by the second of two mirrors", "only.example/app:1", nil, ""},
		{"from mirrors alone", "only.example/none:1", nil, "only.example/none:1: not found"},
	} {
		id, err := images.PullImage(ctx, &runtimeapi.ImageSpec{Image: tc.image}, tc.auth, nil)
		switch {
		case tc.err == "" && (err != nil || id == ""):
			t.Errorf("%s: %q, %v", tc.what, id, err)
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%s: %v, want %s", tc.what, err, tc.err)
		}
		if tc.err != "" {
			continue
		}
		if _, err := images.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: tc.image}, false); err != nil {
			t.Error(err)
		}
		if err := images.RemoveImage(ctx, &runtimeapi.ImageSpec{Image: id}); err != nil {
			t.Error(err)
		}
	}
	list, err := images.ListImages(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || !list[0].Pinned {
		t.Errorf("images %v, want the pause image alone, pinned", list)
	}
	data, err := os.ReadFile(opts.RunDir + "/containerd/containerd.pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(data))[0])
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(l, "VmRSS") || strings.HasPrefix(l, "RssAnon") {
			t.Log("containerd", strings.Join(strings.Fields(l), " "))
		}
	}
}
