// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/component"
	"github.com/hivemind-project/hivemind/pkg/daemon"
)

// files lists those below dir that have text in them.
func files(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

const gauge = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"gauges.example.com"},"spec":{"group":"example.com","scope":"Namespaced",
"names":{"plural":"gauges","kind":"Gauge"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`

// TestSecretsOnTheDisk: neither Secrets nor the custom objects that are listed can be read from the storage's files, and both can from the API: in
// requests, by informers, and after rotations and restarts.
func TestSecretsOnTheDisk(t *testing.T) {
	const word, open = "fjord-of-glass", "glass-of-fjord"
	dir := filepath.Join(t.TempDir(), "hivemind")
	encrypt := func(c *config.Config) { c.Encryption.Resources = []string{"secrets", "gauges.example.com"} }
	c := startCluster(t, dir, encrypt)
	if _, err := c.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"k": word}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Data: map[string]string{"k": open}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.store(t, gauge)
	resource := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "gauges"}
	eventually(t, "the custom resource to be served", func() (bool, error) {
		_, err := dynamic.NewForConfigOrDie(c.config).Resource(resource).Namespace("default").Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": "Gauge", "metadata": map[string]any{"name": "g"}, "spec": map[string]any{"secret": word}}}, metav1.CreateOptions{})
		return err == nil, err
	})
	check := func(when string) {
		t.Helper()
		s, err := c.CoreV1().Secrets("default").Get(t.Context(), "s", metav1.GetOptions{})
		if err != nil || string(s.Data["k"]) != word {
			t.Errorf("%s: secret %v, %v", when, s.Data, err)
		}
		eventually(t, "an informer to have the secret "+when, func() (bool, error) {
			s, err := c.server.Informers().Core().V1().Secrets().Lister().Secrets("default").Get("s")
			return err == nil && string(s.Data["k"]) == word, err
		})
		g, err := dynamic.NewForConfigOrDie(c.config).Resource(resource).Namespace("default").Get(t.Context(), "g", metav1.GetOptions{})
		if err != nil {
			t.Fatalf("%s: gauge %v", when, err)
		}
		if got, _, err := unstructured.NestedString(g.Object, "spec", "secret"); got != word {
			t.Errorf("%s: gauge %v, %v", when, g, err)
		}
		if found := files(t, filepath.Join(dir, "etcd"), word); len(found) > 0 {
			t.Errorf("%s: the secret word is in %v", when, found)
		}
	}
	check("at first")
	before := c.encryption(t, c.config, http.MethodGet, daemon.EncryptionPath, http.StatusOK)
	c.encryption(t, c.config, http.MethodPost, daemon.RotationPath, http.StatusAccepted)
	var after *daemon.Encryption
	eventually(t, "the rotation to end", func() (bool, error) {
		after = c.encryption(t, c.config, http.MethodGet, daemon.EncryptionPath, http.StatusOK)
		return after.Stage == daemon.EncryptionSettled, nil
	})
	if len(after.Keys) != 1 || after.Keys[0].Name == before.Keys[0].Name {
		t.Errorf("keys %v became %v", before.Keys, after.Keys)
	}
	check("after a rotation")
	c.stop()
	if found := files(t, filepath.Join(dir, "etcd"), open); len(found) == 0 {
		t.Error("what is not encrypted is not found either: this test could not fail")
	}
	c = startCluster(t, dir, encrypt)
	check("after a restart")
}

// encryption asks as a client of config does.
func (c *cluster) encryption(t *testing.T, config *rest.Config, method, path string, code int) *daemon.Encryption {
	t.Helper()
	got, s := 0, &daemon.Encryption{}
	result := kubernetes.NewForConfigOrDie(config).CoreV1().RESTClient().Verb(method).AbsPath(path).Do(t.Context())
	if result.StatusCode(&got); got != code {
		t.Fatalf("%s %s: %d, %v; want %d", method, path, got, result.Error(), code)
	}
	if code < http.StatusMultipleChoices {
		text, err := result.Raw()
		if err != nil || json.Unmarshal(text, s) != nil {
			t.Fatalf("%s %s: %s, %v", method, path, text, err)
		}
	}
	return s
}

// TestWhoMayRotate: a role that names the paths is enough, and the right to read Secrets is not.
func TestWhoMayRotate(t *testing.T) {
	c := newCluster(t)
	c.grant(t, "rotator", rbacv1.PolicyRule{NonResourceURLs: []string{daemon.RotationPath}, Verbs: []string{"post"}},
		rbacv1.PolicyRule{NonResourceURLs: []string{daemon.EncryptionPath}, Verbs: []string{"get"}})
	c.grant(t, "reader", rule("*", "", "secrets"))
	as := func(name string) *rest.Config {
		config := rest.CopyConfig(c.config)
		config.Impersonate.UserName = name
		return config
	}
	c.encryption(t, as("reader"), http.MethodGet, daemon.EncryptionPath, http.StatusForbidden)
	c.encryption(t, as("reader"), http.MethodPost, daemon.RotationPath, http.StatusForbidden)
	c.encryption(t, as("rotator"), http.MethodPost, daemon.RotationPath, http.StatusAccepted)
	eventually(t, "the rotation to end", func() (bool, error) {
		return c.encryption(t, as("rotator"), http.MethodGet, daemon.EncryptionPath, http.StatusOK).Stage == daemon.EncryptionSettled, nil
	})
	c.encryption(t, c.config, http.MethodPost, daemon.EncryptionPath, http.StatusMethodNotAllowed)
}

// TestKeyIsGone: a start without the key says so, and what to do.
func TestKeyIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hivemind")
	c := startCluster(t, dir)
	c.stop()
	keys := filepath.Join(dir, "encryption", "keys.json")
	if err := os.Rename(keys, keys+".elsewhere"); err != nil {
		t.Fatal(err)
	}
	config, listener := newConfig(t, dir)
	defer listener.Close()
	err := component.NewGroup(New(config, Options{Listener: listener}).Components()...).Start(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "start encryption: objects (secrets) are encrypted with key") || !strings.Contains(err.Error(), keys+": put the file back") {
		t.Errorf("start without the key: %v", err)
	}
	if _, err := os.Stat(keys); err == nil {
		t.Error("another key was made")
	}
	if err := os.Rename(keys+".elsewhere", keys); err != nil {
		t.Fatal(err)
	}
	startCluster(t, dir)
}

// TestCoreResourcesCanBeEncrypted: what the configuration takes as a resource without a group is what is stored.
func TestCoreResourcesCanBeEncrypted(t *testing.T) {
	c := newCluster(t)
	stored := map[string]bool{}
	for _, source := range c.server.registry.Sources() {
		if source.Resource.Group == "" {
			stored[source.Resource.Resource] = true
		}
	}
	for _, name := range config.CoreResources {
		if !stored[name] {
			t.Errorf("%s can be listed and is not stored", name)
		}
		delete(stored, name)
	}
	if len(stored) > 0 {
		t.Errorf("%v cannot be listed", stored)
	}
}
