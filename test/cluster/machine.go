// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
)

// Machine is what there is on the machine at one time, as lines that begin with the kind of thing.
type Machine map[string]struct{}

// Look lists processes, mounts, links, addresses, routes, network namespaces, nft tables, control groups, and files where programs leave
// them. What belongs to other clusters, by their id, is left out: they may come and go.
func (c *Cluster) Look() (Machine, error) {
	m := Machine{}
	foreign, err := c.neighbours()
	if err != nil {
		return nil, err
	}
	for kind, list := range map[string]func() ([]string, error){
		"process": c.processes, "mount": mounts, "link": links, "route": routes, "netns": namespaces,
		"nft": tables, "cgroup": cgroups, "file": files,
	} {
		lines, err := list()
		if err != nil {
			return nil, fmt.Errorf("list every %s: %w", kind, err)
		}
		for _, line := range lines {
			if !foreign(line) {
				m[kind+" "+line] = struct{}{}
			}
		}
	}
	return m, nil
}

// Left is what is there now and was not before.
func (m Machine) Left(before Machine) []string {
	var out []string
	for _, line := range slices.Sorted(maps.Keys(m)) {
		if _, was := before[line]; !was {
			out = append(out, line)
		}
	}
	return out
}

// neighbours tells lines that carry the id or the data directory of another cluster on this machine.
func (c *Cluster) neighbours() (func(line string) bool, error) {
	ids := regexp.MustCompile(`\b(?:hivemind|hm)-([0-9a-f]{8})\b`)
	dataDir := regexp.MustCompile("--data-dir[=\x00]([^\x00]+)")
	dirs := []string{apiconfig.DefaultDataDir}
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		args, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		if match := dataDir.FindSubmatch(args); match != nil {
			dirs = append(dirs, string(match[1]))
		}
	}
	return func(line string) bool {
		for _, match := range ids.FindAllStringSubmatch(line, -1) {
			if match[1] != c.Config.ID() {
				return true
			}
		}
		return slices.ContainsFunc(dirs, func(dir string) bool { return dir != c.Config.DataDir && strings.Contains(line, dir+"/") })
	}, nil
}

// processes lists those that have to do with this cluster: by their program, their arguments, or the control group they run in. Those of
// other people on the machine come and go as they like.
func (c *Cluster) processes() ([]string, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		program, _ := os.Readlink(filepath.Join(dir, "exe")) // empty for one that has just ended
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		groups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		line := fmt.Sprintf("%d %s %s", pid, program, strings.ReplaceAll(string(args), "\x00", " "))
		if strings.Contains(line, c.Config.DataDir) || strings.Contains(line, c.Config.RunDir()) || strings.Contains(string(groups), c.Config.CgroupRoot()) {
			out = append(out, line)
		}
	}
	return out, nil
}

func mounts() ([]string, error) { return mounted("") }

// mounted are the mount points of a kind of file system; of all where kind is "".
func mounted(kind string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		where, what, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(where); len(fields) > 4 && (kind == "" || strings.HasPrefix(what, kind+" ")) {
			out = append(out, fields[4])
		}
	}
	return out, nil
}

// links are named with the bridge that they are attached to, so that those of another cluster can be told.
func links() ([]string, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range all {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var out []string
	for _, l := range all {
		line := l.Attrs().Name
		if master := names[l.Attrs().MasterIndex]; master != "" {
			line += " on " + master
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			line += " " + a.IPNet.String()
		}
		out = append(out, line)
	}
	return out, nil
}

func routes() ([]string, error) {
	all, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range all {
		name := strconv.Itoa(r.LinkIndex)
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			name = l.Attrs().Name
		}
		out = append(out, fmt.Sprintf("%v dev %s", r.Dst, name))
	}
	return out, nil
}

// namespaces are those that are kept by a mount.
func namespaces() ([]string, error) { return mounted("nsfs") }

func tables() ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	all, err := conn.ListTables()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, t := range all {
		out = append(out, fmt.Sprintf("%d %s", t.Family, t.Name))
	}
	return out, nil
}

func cgroups() ([]string, error) {
	return list("/sys/fs/cgroup", 4, func(d fs.DirEntry) bool { return d.IsDir() })
}

// files are those in places where programs leave things; what is deep in there changes all the time for reasons of its own.
func files() ([]string, error) {
	var out []string
	for dir, depth := range map[string]int{"/run": 3, "/etc": 3, "/opt": 3, "/usr/local": 2, "/var/lib": 2, "/var/log": 2, "/var/run": 1, "/root": 1, "/root/.kube": 2} {
		found, err := list(dir, depth, func(fs.DirEntry) bool { return true })
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// list returns what is below dir, to a depth.
func list(dir string, depth int, want func(fs.DirEntry) bool) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it has gone meanwhile, or may not be read
		}
		if path == dir {
			return nil
		}
		if want(d) {
			out = append(out, path)
		}
		if d.IsDir() && strings.Count(strings.TrimPrefix(path, dir), "/") >= depth {
			return fs.SkipDir
		}
		return nil
	})
	return out, err
}
