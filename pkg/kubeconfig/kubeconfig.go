// SPDX-License-Identifier: Apache-2.0

// Package kubeconfig puts a cluster's access into the kubeconfig file of the person who started it, and takes it out
// again, without touching other clusters' entries. A file is read, changed and replaced whole: its cost is its size.
package kubeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// File is somebody's kubeconfig file.
type File struct {
	Path string
	// UID and GID own the file if it is made; -1 leaves them to the system.
	UID, GID int
}

// OfUser finds the file of the person behind this process: what KUBECONFIG names first, else .kube/config in the home of
// whoever called sudo, else in one's own.
func OfUser(getenv func(string) string) (File, error) {
	f := File{UID: -1, GID: -1}
	home, err := os.UserHomeDir()
	if name := getenv("SUDO_USER"); name != "" && name != "root" && os.Geteuid() == 0 {
		u, lookupErr := user.Lookup(name)
		if lookupErr != nil {
			return File{}, fmt.Errorf("find the home of %s, who called sudo: %w", name, lookupErr)
		}
		home, err = u.HomeDir, nil
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return File{}, fmt.Errorf("find the ids of %s, who called sudo: %w", name, err)
		}
		f.UID, f.GID = uid, gid
	}
	for _, path := range filepath.SplitList(getenv("KUBECONFIG")) {
		if path != "" {
			f.Path = path
			return f, nil
		}
	}
	if err != nil {
		return File{}, fmt.Errorf("find your kubeconfig: %w; name it in KUBECONFIG", err)
	}
	f.Path = filepath.Join(home, clientcmd.RecommendedHomeDir, clientcmd.RecommendedFileName)
	return f, nil
}

// Merge writes the one cluster of admin, a kubeconfig, into the file as cluster, user and context name. The context
// becomes the current one if the file has none, or if it did not know this cluster: previous is what was current then.
func (f File) Merge(admin []byte, name string) (previous string, err error) {
	from, err := clientcmd.Load(admin)
	if err != nil {
		return "", fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	source, ok := from.Contexts[from.CurrentContext]
	if !ok || from.Clusters[source.Cluster] == nil || from.AuthInfos[source.AuthInfo] == nil {
		return "", errors.New("read the cluster's kubeconfig: it has no current context")
	}
	into, err := f.read()
	if err != nil {
		return "", err
	}
	known := isSame(into, name, from.Clusters[source.Cluster])
	into.Clusters[name] = from.Clusters[source.Cluster]
	into.AuthInfos[name] = from.AuthInfos[source.AuthInfo]
	if context := into.Contexts[name]; context != nil && known {
		context.Cluster, context.AuthInfo = name, name // and keep the person's namespace
	} else {
		into.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	}
	if (into.CurrentContext == "" || !known) && into.CurrentContext != name {
		previous, into.CurrentContext = into.CurrentContext, name
	}
	return previous, f.write(into)
}

// Remove takes the entries that Merge wrote out of the file, if they are those of the cluster of admin.
func (f File) Remove(admin []byte, name string) error {
	from, err := clientcmd.Load(admin)
	if err != nil {
		return fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	source, ok := from.Contexts[from.CurrentContext]
	if !ok {
		return nil
	}
	into, err := f.read()
	if err != nil {
		return err
	}
	if !isSame(into, name, from.Clusters[source.Cluster]) {
		return nil
	}
	delete(into.Clusters, name)
	delete(into.AuthInfos, name)
	delete(into.Contexts, name)
	if into.CurrentContext == name {
		into.CurrentContext = ""
	}
	return f.write(into)
}

// isSame tells whether c has cluster under name: its authority is what identifies a cluster.
func isSame(c *api.Config, name string, cluster *api.Cluster) bool {
	have := c.Clusters[name]
	return have != nil && cluster != nil && bytes.Equal(have.CertificateAuthorityData, cluster.CertificateAuthorityData)
}

func (f File) read() (*api.Config, error) {
	c, err := clientcmd.LoadFromFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return api.NewConfig(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", f.Path, err)
	}
	return c, nil
}

// write replaces the file, which stays its owner's, and readable by nobody else.
func (f File) write(c *api.Config) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write kubeconfig %s: %w", f.Path, err)
		}
	}()
	content, err := clientcmd.Write(*c)
	if err != nil {
		return err
	}
	path, uid, gid := f.Path, f.UID, f.GID
	// A link stays a link: people keep this file in a repository of theirs.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if info, err := os.Stat(path); err == nil {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) && info.Mode().Perm() == 0o600 {
			return nil
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(stat.Uid), int(stat.Gid)
		}
	}
	if err := f.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-") // mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(content)
	if err == nil && os.Geteuid() == 0 && uid >= 0 {
		err = temp.Chown(uid, gid)
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}

func (f File) mkdir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if f.UID >= 0 {
		return os.Chown(dir, f.UID, f.GID)
	}
	return nil
}

// ContextName is what a cluster is called in kubeconfig files: hivemind, and with its short id where it is not the
// machine's usual one.
func ContextName(dataDir, defaultDataDir, id string) string {
	if strings.TrimRight(dataDir, "/") == defaultDataDir {
		return "hivemind"
	}
	return "hivemind-" + id
}
