// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// admin is the kubeconfig of a cluster with an authority.
func admin(t testing.TB, authority, server string) []byte {
	t.Helper()
	c := api.NewConfig()
	c.Clusters["c"] = &api.Cluster{Server: server, CertificateAuthorityData: []byte(authority)}
	c.AuthInfos["u"] = &api.AuthInfo{ClientCertificateData: []byte("cert"), ClientKeyData: []byte("key of " + authority)}
	c.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "u"}
	c.CurrentContext = "x"
	text, err := clientcmd.Write(*c)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const theirs = `apiVersion: v1
kind: Config
current-context: prod
clusters:
- name: prod
  cluster: {server: https://prod.example, certificate-authority: relative/ca.crt}
users:
- name: prod
  user: {token: secret}
contexts:
- name: prod
  context: {cluster: prod, user: prod, namespace: web}
`

func newFile(t testing.TB, content string) File {
	t.Helper()
	f := File{Path: filepath.Join(t.TempDir(), "sub", "config"), UID: -1, GID: -1}
	if content == "" {
		return f
	}
	if err := os.Mkdir(filepath.Dir(f.Path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return f
}

func load(t *testing.T, f File) *api.Config {
	t.Helper()
	c, err := clientcmd.LoadFromFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func checkTheirs(t *testing.T, c *api.Config) {
	t.Helper()
	if c.Clusters["prod"] == nil || c.Clusters["prod"].Server != "https://prod.example" || c.Clusters["prod"].CertificateAuthority != "relative/ca.crt" ||
		c.AuthInfos["prod"] == nil || c.AuthInfos["prod"].Token != "secret" || c.Contexts["prod"] == nil || c.Contexts["prod"].Namespace != "web" {
		t.Error("the entries of another cluster were harmed")
	}
}

func TestMergeIntoNothing(t *testing.T) {
	f := newFile(t, "")
	previous, err := f.Merge(admin(t, "ca", "https://a:6443"), "hivemind")
	if err != nil || previous != "" {
		t.Fatalf("Merge = %q, %v", previous, err)
	}
	c := load(t, f)
	if c.CurrentContext != "hivemind" || c.Clusters["hivemind"].Server != "https://a:6443" || len(c.AuthInfos["hivemind"].ClientKeyData) == 0 {
		t.Errorf("%+v", c)
	}
	if info, err := os.Stat(f.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestMergeBesideOthers(t *testing.T) {
	f := newFile(t, theirs)
	previous, err := f.Merge(admin(t, "ca", "https://a:6443"), "hivemind")
	if err != nil || previous != "prod" {
		t.Fatalf("Merge = %q, %v", previous, err)
	}
	c := load(t, f)
	checkTheirs(t, c)
	if c.CurrentContext != "hivemind" {
		t.Errorf("current context %q", c.CurrentContext)
	}
	if info, err := os.Stat(f.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: the file holds keys now", info.Mode(), err)
	}

	// The person goes back to prod and sets a namespace; the next start leaves both.
	c.CurrentContext, c.Contexts["hivemind"].Namespace = "prod", "dev"
	if err := clientcmd.WriteToFile(*c, f.Path); err != nil {
		t.Fatal(err)
	}
	if previous, err = f.Merge(admin(t, "ca", "https://a:7443"), "hivemind"); err != nil || previous != "" {
		t.Fatalf("second Merge = %q, %v", previous, err)
	}
	c = load(t, f)
	if c.CurrentContext != "prod" || c.Contexts["hivemind"].Namespace != "dev" || c.Clusters["hivemind"].Server != "https://a:7443" {
		t.Errorf("current %q, namespace %q, server %q", c.CurrentContext, c.Contexts["hivemind"].Namespace, c.Clusters["hivemind"].Server)
	}

	// A new cluster in the place of the old.
	if previous, err = f.Merge(admin(t, "another ca", "https://a:6443"), "hivemind"); err != nil || previous != "prod" {
		t.Fatalf("Merge of a new cluster = %q, %v", previous, err)
	}
	if c = load(t, f); c.Contexts["hivemind"].Namespace != "" || string(c.Clusters["hivemind"].CertificateAuthorityData) != "another ca" {
		t.Errorf("%+v", c.Contexts["hivemind"])
	}
}

func TestMergeFollowsLinks(t *testing.T) {
	f := newFile(t, theirs)
	link := File{Path: filepath.Join(t.TempDir(), "config"), UID: -1, GID: -1}
	if err := os.Symlink(f.Path, link.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := link.Merge(admin(t, "ca", "https://a:6443"), "hivemind"); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(link.Path); err != nil || target != f.Path {
		t.Errorf("the link became %q, %v", target, err)
	}
	checkTheirs(t, load(t, f))
}

func TestBrokenFileIsLeftAlone(t *testing.T) {
	f := newFile(t, "clusters: [")
	if _, err := f.Merge(admin(t, "ca", "https://a:6443"), "hivemind"); err == nil || !strings.Contains(err.Error(), f.Path) {
		t.Errorf("error %v, want one that names the file", err)
	}
	if text, err := os.ReadFile(f.Path); err != nil || string(text) != "clusters: [" {
		t.Errorf("file %q, %v", text, err)
	}
}

func TestRemove(t *testing.T) {
	for name, c := range map[string]struct {
		authority   string
		wantRemoved bool
	}{
		"own entries":                     {"ca", true},
		"another cluster's, of this name": {"another ca", false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFile(t, theirs)
			if _, err := f.Merge(admin(t, "ca", "https://a:6443"), "hivemind"); err != nil {
				t.Fatal(err)
			}
			if err := f.Remove(admin(t, c.authority, "https://a:6443"), "hivemind"); err != nil {
				t.Fatal(err)
			}
			got := load(t, f)
			checkTheirs(t, got)
			removed := got.Clusters["hivemind"] == nil && got.AuthInfos["hivemind"] == nil && got.Contexts["hivemind"] == nil && got.CurrentContext == ""
			if removed != c.wantRemoved {
				t.Errorf("removed: %v, want %v", removed, c.wantRemoved)
			}
		})
	}
	if err := newFile(t, "").Remove(admin(t, "ca", ""), "hivemind"); err != nil {
		t.Errorf("without a file: %v", err)
	}
}

func TestOfUser(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"home":                   {nil, filepath.Join(home, ".kube", "config")},
		"variable":               {map[string]string{"KUBECONFIG": "/a/b"}, "/a/b"},
		"the first of several":   {map[string]string{"KUBECONFIG": ":/a/b:/c"}, "/a/b"},
		"root calls sudo itself": {map[string]string{"SUDO_USER": "root"}, filepath.Join(home, ".kube", "config")},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := OfUser(func(name string) string { return c.env[name] })
			if err != nil || f.Path != c.want {
				t.Errorf("OfUser = %q, %v; want %q", f.Path, err, c.want)
			}
		})
	}
	if os.Geteuid() == 0 {
		f, err := OfUser(func(name string) string { return map[string]string{"SUDO_USER": "daemon"}[name] })
		if err != nil || f.UID != 1 || !strings.HasSuffix(f.Path, "/sbin/.kube/config") {
			t.Errorf("sudo by daemon: %+v, %v", f, err)
		}
	}
}
