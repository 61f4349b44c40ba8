// SPDX-License-Identifier: Apache-2.0

package imageset

import (
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// recipe is an image by all its names, and what is in it: layers from the lowest up.
type recipe struct {
	names  []string
	layers []layer
	config v1.Config
}

// testImages is where the suite's own images are.
const testImages = "registry.k8s.io/e2e-test-images/"

// catalog lists the images. Names, users, entry points and ports are those of test/images in the module k8s.io/kubernetes.
func catalog() []recipe {
	return []recipe{
		{
			names: []string{"registry.k8s.io/pause:3.10.2"}, layers: []layer{pause()},
			config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"},
		},
		{
			names: []string{testImages + "busybox:1.36.1-1", testImages + "busybox:1.37.0-1"}, layers: []layer{busybox()},
			config: v1.Config{Cmd: []string{"sh"}},
		},
		{
			names: []string{testImages + "agnhost:2.55", testImages + "agnhost:2.63.0"}, layers: []layer{tools(), agnhost()},
			config: agnhostConfig("pause"),
		},
		{
			names: []string{testImages + "kitten:1.8"}, layers: []layer{tools(), agnhost(), pictures("kitten")},
			config: agnhostConfig("test-webserver"),
		},
		{
			names: []string{testImages + "nautilus:1.8"}, layers: []layer{tools(), agnhost(), pictures("nautilus")},
			config: agnhostConfig("test-webserver"),
		},
		{
			names: []string{testImages + "glibc-dns-testing:2.0.0"}, layers: []layer{tools()},
			config: v1.Config{Cmd: []string{"bash"}},
		},
		{
			names: []string{testImages + "ipc-utils:1.4"}, layers: []layer{tools()},
			config: v1.Config{Cmd: []string{"sh"}},
		},
		{
			names: []string{testImages + "nginx:1.15-4", testImages + "nginx:1.27-0"}, layers: []layer{small(), nginx()},
			config: v1.Config{
				Entrypoint: []string{"/docker-entrypoint.sh"}, Cmd: []string{"nginx", "-g", "daemon off;"},
				ExposedPorts: ports("80/tcp"), StopSignal: "SIGQUIT",
			},
		},
		{
			names: []string{testImages + "nonroot:1.5"}, layers: []layer{small()},
			config: v1.Config{User: "1234", Cmd: []string{"sh"}},
		},
		{
			names: []string{testImages + "nonewprivs:1.4"}, layers: []layer{small(), nonewprivs()},
			config: v1.Config{Cmd: []string{"nnp"}},
		},
		{
			names: []string{testImages + "resource-consumer:1.14"}, layers: []layer{small(), resourceConsumer()},
			config: v1.Config{Entrypoint: []string{"/consumer"}, ExposedPorts: ports("8080/tcp")},
		},
		{
			names: []string{testImages + "regression-issue-74839:1.4"}, layers: []layer{small(), regressionIssue74839()},
			config: v1.Config{Entrypoint: []string{"/regression-issue-74839"}},
		},
		{
			names: []string{testImages + "sample-apiserver:1.29.2"}, layers: []layer{small(), sampleAPIServer()},
			config: v1.Config{Entrypoint: []string{"/sample-apiserver"}},
		},
		{
			names: []string{"registry.k8s.io/etcd:3.6.8-0"}, layers: []layer{etcd()},
			config: v1.Config{ExposedPorts: ports("2379/tcp", "2380/tcp"), WorkingDir: "/"},
		},
	}
}

// Absent is what the suite names and is not made, by prefixes of names, with the reason.
func Absent() map[string]string {
	return map[string]string{
		"invalid.registry.k8s.io/":            "must not exist: tests wait for its pull to fail",
		"gcr.io/k8s-authenticated-test/":      "needs credentials of the suite's owners; no conformance test pulls it",
		"registry.k8s.io/sig-storage/":        "CSI drivers and provisioners; no conformance test runs one",
		"registry.k8s.io/cloud-provider-gcp/": "of one cloud",
		"registry.k8s.io/build-image/":        "has iptables, for tests of kube-proxy; no conformance test runs it",
		testImages + "apparmor-loader:":       "for nodes with AppArmor; no conformance test runs it",
		testImages + "node-perf/":             "measures nodes; no conformance test runs it",
		testImages + "perl:":                  "no test runs it",
		testImages + "volume/":                "servers of iSCSI and NFS; no conformance test runs one",
	}
}

// Registries are the hosts that images of the suite are named by, and those of names that must not lead anywhere.
func Registries() []string {
	hosts := []string{"docker.io"} // of names without a host, which tests use for images that are not there
	add := func(name string) {
		host, _, _ := strings.Cut(name, "/")
		hosts = append(hosts, host)
	}
	for _, r := range catalog() {
		add(r.names[0])
	}
	for prefix := range Absent() {
		add(prefix)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// agnhostConfig is that of agnhost and of the images on top of it, which differ in what they do unless told.
func agnhostConfig(command string) v1.Config {
	return v1.Config{
		Entrypoint: []string{"/agnhost"}, Cmd: []string{command}, WorkingDir: "/",
		ExposedPorts: ports("80/tcp", "8080/tcp", "8081/tcp", "9376/tcp", "5000/tcp"),
	}
}

func ports(list ...string) map[string]struct{} {
	set := map[string]struct{}{}
	for _, port := range list {
		set[port] = struct{}{}
	}
	return set
}
