// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/config"
	"github.com/hivemind-project/hivemind/pkg/datadir"
	"github.com/hivemind-project/hivemind/pkg/network"
)

// Space that the data directory needs: unpacked programs and a storage for Fail, some images for Warn.
const (
	minFreeBytes   = 512 << 20
	comfyFreeBytes = 2 << 30
	minFreeInodes  = 10_000
)

func checkAddress(m *Machine) Result {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return Result{Severity: Fail, What: "links cannot be listed: " + err.Error()}
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err != nil || p.Addr().String() != m.Config.Node.IP {
			continue
		}
		if host, err := network.DetectNodeIP(); err == nil && host.IP.String() == m.Config.Node.IP && host.Note != "" {
			return Result{Severity: Warn, What: "the node's address is " + m.Config.Node.IP, Why: host.Note, Mend: "hivemind up --node-ip ADDRESS, for another"}
		}
		return ok("the node's is %s", m.Config.Node.IP)
	}
	return Result{Severity: Fail, What: "no link has the node's address " + m.Config.Node.IP, Why: "the node could not be reached by it",
		Mend: "ip -brief address lists those there are; hivemind up --node-ip ADDRESS"}
}

func checkPorts(m *Machine) Result {
	if m.Running != 0 {
		return ok("held by this cluster, process %d", m.Running)
	}
	type use struct {
		port      int
		flag, why string
	}
	var uses []use
	if slices.Contains(m.Config.Roles, apiconfig.RoleServer) {
		uses = append(uses, use{m.Config.API.Port, "--api-port", "the Kubernetes API is served on it"})
	}
	// The agents of simulated nodes listen on nothing.
	if slices.Contains(m.Config.Roles, apiconfig.RoleAgent) && m.Config.Runtime != apiconfig.RuntimeSimulated {
		uses = append(uses, use{m.Config.Node.KubeletPort, "--node-kubelet-port", "the API server asks the node agent for logs and exec on it"})
	}
	var listed []string
	for _, u := range uses {
		listener, err := net.Listen("tcp", ":"+strconv.Itoa(u.port))
		if err == nil {
			listener.Close()
			listed = append(listed, strconv.Itoa(u.port))
			continue
		}
		who, mend := "", fmt.Sprintf("hivemind up %s %d, or stop what listens on it", u.flag, u.port+1000)
		if name, pid := m.listenerOn(u.port); pid != 0 {
			who, mend = fmt.Sprintf(" by %s, process %d", name, pid), fmt.Sprintf("hivemind up %s %d, or stop process %d", u.flag, u.port+1000, pid)
		}
		return Result{Severity: Fail, What: fmt.Sprintf("port %d is taken%s (%v)", u.port, who, unwrapAll(err)), Why: u.why, Mend: mend}
	}
	return ok("%s are free", strings.Join(listed, " and "))
}

func unwrapAll(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}

// listenerOn finds the process that listens on a TCP port: the socket's inode by the port, the process by the inode.
func (m *Machine) listenerOn(port int) (name string, pid int) {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := m.read(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			// sl local_address rem_address st … inode at column 9; state 0A is LISTEN.
			columns := strings.Fields(line)
			if len(columns) > 9 && columns[3] == "0A" && strings.HasSuffix(columns[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+columns[9]+"]"] = true
			}
		}
	}
	if len(inodes) == 0 {
		return "", 0
	}
	descriptors, err := filepath.Glob(m.path("/proc/[0-9]*/fd/*"))
	if err != nil {
		return "", 0
	}
	for _, d := range descriptors {
		target, err := os.Readlink(d)
		if err != nil || !inodes[target] {
			continue
		}
		process := filepath.Dir(filepath.Dir(d))
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(process, "comm"))
		if err != nil {
			continue
		}
		return strings.TrimSpace(string(comm)), pid
	}
	return "", 0
}

func checkDisk(m *Machine) Result {
	dir := m.Config.DataDir
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Result{Severity: Fail, What: fmt.Sprintf("%s cannot be examined: %v", dir, err), Why: "all state is kept there", Mend: "hivemind up --data-dir DIRECTORY"}
	}
	free := s.Bavail * uint64(s.Bsize)
	what := fmt.Sprintf("%s free in %s", bytesText(free), dir)
	mend := "df -h " + dir + "; remove what is not needed, or hivemind up --data-dir DIRECTORY on another disk"
	switch {
	case s.Flags&unix.ST_RDONLY != 0:
		return Result{Severity: Fail, What: dir + " is read-only", Why: "all state is kept there", Mend: "hivemind up --data-dir DIRECTORY"}
	case free < minFreeBytes:
		return Result{Severity: Fail, What: what, Why: fmt.Sprintf("programs and storage need %s", bytesText(minFreeBytes)), Mend: mend}
	case s.Files > 0 && s.Ffree < minFreeInodes:
		return Result{Severity: Fail, What: fmt.Sprintf("%d inodes free in %s", s.Ffree, dir), Why: "each file of an image takes one", Mend: "df -i " + dir + "; remove what is not needed"}
	case free < comfyFreeBytes:
		return Result{Severity: Warn, What: what, Why: "images may not fit", Mend: mend}
	}
	return ok("%s", what)
}

func bytesText(n uint64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

func checkData(m *Machine) Result {
	if err := datadir.Check(m.Config); err != nil {
		return Result{Severity: Fail, What: err.Error()}
	}
	kept, err := datadir.Kept(m.Config.DataDir)
	if err != nil || kept == nil {
		return ok("%s will be made", m.Config.DataDir)
	}
	return ok("%s has a cluster", m.Config.DataDir)
}

// checkClock compares the clock with this very program's: certificates made in the past of their verifier are refused.
func checkClock(m *Machine) Result {
	now := time.Now()
	program, err := os.Executable()
	if err != nil {
		return ok("%s", now.UTC().Format(time.RFC3339))
	}
	info, err := os.Stat(program)
	if err != nil || !now.Before(info.ModTime().Add(-time.Hour)) {
		return ok("%s", now.UTC().Format(time.RFC3339))
	}
	return Result{Severity: Fail, What: fmt.Sprintf("the clock says %s, but this program was written at %s", now.UTC().Format(time.RFC3339), info.ModTime().UTC().Format(time.RFC3339)),
		Why:  "certificates made now would not be valid elsewhere, or once the clock is right",
		Mend: "timedatectl set-ntp true, or date -s 'YYYY-MM-DD hh:mm:ss'"}
}

// others are programs that run a Kubernetes node and would fight over links and packet filters.
var others = [...]string{"kubelet", "k3s", "k3s-server", "k3s-agent", "k0s", "rke2", "microk8s", "kubelite"}

func checkClusters(m *Machine) Result {
	names, err := filepath.Glob(m.path("/proc/[0-9]*/comm"))
	if err != nil {
		return Result{Severity: Warn, What: err.Error()}
	}
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err != nil {
			continue // ended meanwhile
		}
		if program := strings.TrimSpace(string(comm)); slices.Contains(others[:], program) {
			pid := filepath.Base(filepath.Dir(name))
			return Result{Severity: Warn, What: fmt.Sprintf("%s runs here, as process %s", program, pid),
				Why: "two clusters on one machine contend for ports and packet filters", Mend: "stop it, if it is not meant to run beside this cluster"}
		}
	}
	beside, err := config.OtherClusters(m.Config)
	if err != nil {
		return Result{Severity: Warn, What: err.Error()}
	}
	if len(beside) == 0 {
		return ok("none beside this one")
	}
	var dirs []string
	for _, s := range beside {
		dirs = append(dirs, s.DataDir)
	}
	return ok("hivemind runs beside this one, in %s", strings.Join(dirs, ", "))
}
