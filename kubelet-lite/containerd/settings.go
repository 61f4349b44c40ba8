// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// lean are the plugins that a Kubernetes node has no use for; without them containerd starts sooner and opens neither
// /run/nri nor /opt/containerd.
var lean = []string{
	"io.containerd.differ.v1.erofs",
	"io.containerd.http.v1.pprof",
	"io.containerd.image-verifier.v1.bindir",
	"io.containerd.internal.v1.opt",
	"io.containerd.internal.v1.tracing",
	"io.containerd.metrics.v1.grpc-otel",
	"io.containerd.metrics.v1.grpc-prometheus",
	"io.containerd.monitor.container.v1.restart",
	"io.containerd.mount-handler.v1.erofs",
	"io.containerd.nri.v1.nri",
	"io.containerd.server.v1.debug",
	"io.containerd.server.v1.grpc-tcp",
	"io.containerd.server.v1.metrics",
	"io.containerd.snapshotter.v1.blockfile",
	"io.containerd.snapshotter.v1.btrfs",
	"io.containerd.snapshotter.v1.devmapper",
	"io.containerd.snapshotter.v1.erofs",
	"io.containerd.snapshotter.v1.zfs",
	"io.containerd.tracing.processor.v1.otlp",
	"io.containerd.ttrpc.v1.otelttrpc",
}

// machine is what of the configuration depends on where it runs.
type machine struct {
	snapshotter    string // overlayfs, or native where overlayfs cannot be mounted
	restrictOOM    bool   // negative oom_score_adj is refused to us
	sandboxImage   string
	privilegedPort bool // net.ipv4.ip_unprivileged_port_start can be set in a pod's namespace
}

// render writes containerd's configuration, version 4 (docs/man/containerd-config.toml.5.md of containerd 2.4).
func render(o *Options, m machine) string {
	var b strings.Builder
	q := strconv.Quote
	list := func(words []string) string {
		out := make([]string, len(words))
		for i, w := range words {
			out[i] = q(w)
		}
		return "[" + strings.Join(out, ", ") + "]"
	}
	f := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	disabled := slices.Clone(lean)
	for _, snapshotter := range []string{"overlayfs", "native"} {
		if snapshotter != m.snapshotter {
			disabled = append(disabled, "io.containerd.snapshotter.v1."+snapshotter)
		}
	}
	f("version = 4")
	f("root = %s", q(o.root()))
	f("state = %s", q(o.state()))
	f("imports = []")
	if !m.restrictOOM {
		f("oom_score = -999") // the kernel should take a pod before the runtime
	}
	f("disabled_plugins = %s", list(disabled))
	// Without CRI containerd is of no use: it should end and say why.
	f("required_plugins = ['io.containerd.grpc.v1.cri']")
	f("[debug]\nlevel = %s", q(o.logLevel()))

	f("[plugins.'io.containerd.server.v1.grpc']\naddress = %s", q(o.Socket()))
	f("[plugins.'io.containerd.server.v1.ttrpc']\naddress = %s", q(o.Socket()+".ttrpc"))
	f("[plugins.'io.containerd.shim.v1.manager']\nsocket_dir = %s", q(filepath.Join(o.RunDir, "s")))

	f("[plugins.'io.containerd.grpc.v1.cri']\ndisable_tcp_service = true\nstream_server_address = '127.0.0.1'\nstream_server_port = '0'")
	// By default every container's cgroup is read each second and its files are counted every ten, which wakes all shims:
	// the greater part of what an idle node would do. Collectors of metrics come by four times a minute.
	f("[plugins.'io.containerd.cri.v1.images']\nsnapshotter = %s\nstats_collect_period = 60", q(m.snapshotter))
	f("[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = %s", q(m.sandboxImage))
	f("[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = %s", q(o.registries()))
	if m.snapshotter != "overlayfs" {
		f("[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\nplatform = %s\nsnapshotter = %s\ndiffer = 'walking'", q(platform()), q(m.snapshotter))
	}

	f("[plugins.'io.containerd.cri.v1.runtime']")
	f("restrict_oom_score_adj = %t", m.restrictOOM)
	f("netns_mounts_under_state_dir = true") // all that a reset must unmount lies below one directory
	f("enable_unprivileged_ports = %t\nenable_unprivileged_icmp = %t", m.privilegedPort, m.privilegedPort)
	f("stats_collect_period = '15s'")
	f("enable_criu = false")
	f("ignore_deprecation_warnings = []")
	f("cdi_spec_dirs = []")
	f("[plugins.'io.containerd.cri.v1.runtime'.cni]\nuse_internal_loopback = true\nbin_dirs = %s\nconf_dir = %s", list(o.CNIBinDirs), q(o.CNIConfDir))
	f("[plugins.'io.containerd.cri.v1.runtime'.containerd]\ndefault_runtime_name = 'runc'")
	f("[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\nruntime_path = %s",
		q(filepath.Join(o.BinDir, "containerd-shim-runc-v2")))
	f("[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nBinaryName = %s\nRoot = %s\nSystemdCgroup = false",
		q(filepath.Join(o.BinDir, "runc")), q(filepath.Join(o.RunDir, "runc")))
	return b.String()
}

// inspect finds out what this machine allows. Nothing of it is left behind.
func inspect(o *Options) machine {
	m := machine{snapshotter: "native", restrictOOM: !mayLowerOOMScore()}
	if overlayWorks(o.root()) {
		m.snapshotter = "overlayfs"
	}
	_, err := os.Stat("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	m.privilegedPort = err == nil
	return m
}

// mayLowerOOMScore tries what a sandbox will be given. The kernel wants CAP_SYS_RESOURCE in the first user namespace
// for it, which no file tells from inside another: so ask by doing, and take it back at once.
func mayLowerOOMScore() bool {
	const file, wanted = "/proc/self/oom_score_adj", -998
	data, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	now := strings.TrimSpace(string(data))
	if n, err := strconv.Atoi(now); err == nil && n <= wanted {
		return true
	}
	if os.WriteFile(file, []byte(strconv.Itoa(wanted)), 0) != nil {
		return false
	}
	return os.WriteFile(file, []byte(now), 0) == nil
}

// overlayWorks mounts an overlay in dir's file system: overlayfs refuses some below it, another overlayfs or NFS for instance.
func overlayWorks(dir string) bool {
	try, err := os.MkdirTemp(dir, "overlay-check-")
	if err != nil {
		return false
	}
	defer os.RemoveAll(try)
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if os.Mkdir(filepath.Join(try, d), 0o700) != nil {
			return false
		}
	}
	merged := filepath.Join(try, "merged")
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", filepath.Join(try, "lower"), filepath.Join(try, "upper"), filepath.Join(try, "work"))
	if syscall.Mount("overlay", merged, "overlay", 0, opts) != nil {
		return false
	}
	return syscall.Unmount(merged, syscall.MNT_DETACH) == nil
}

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
