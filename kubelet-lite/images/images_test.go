// SPDX-License-Identifier: Apache-2.0

package images

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

func TestNormalize(t *testing.T) {
	for _, c := range []struct{ image, full, repository string }{
		{"busybox", "busybox:latest", "docker.io/library/busybox"},
		{"user/app:2", "user/app:2", "docker.io/user/app"},
		{"registry.test:5000/a/b", "registry.test:5000/a/b:latest", "registry.test:5000/a/b"},
		{"quay.io/a@sha256:" + strings.Repeat("a", 64), "quay.io/a@sha256:" + strings.Repeat("a", 64), "quay.io/a"},
		{"Not//Valid", "", ""},
	} {
		full, repository, err := Normalize(c.image)
		if full != c.full || repository != c.repository || (err != nil) != (c.full == "") {
			t.Errorf("%s: %q, %q, %v", c.image, full, repository, err)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		key, repository string
		want            bool
	}{
		{"https://index.docker.io/v1/", "docker.io/library/busybox", true},
		{"docker.io", "docker.io/user/app", true},
		{"registry.test:5000", "registry.test:5000/app", true},
		{"registry.test", "registry.test:5000/app", true},
		{"registry.test:5001", "registry.test:5000/app", false},
		{"http://registry.test/v2/", "registry.test/app", true},
		{"*.example.com", "eu.example.com/app", true},
		{"*.example.com", "a.b.example.com/app", false},
		{"registry.test/team", "registry.test/team/app", true},
		{"registry.test/team", "registry.test/other/app", false},
		{"quay.io", "registry.test/app", false},
	} {
		if got := covers(c.key, c.repository); got != c.want {
			t.Errorf("%s covers %s: %v", c.key, c.repository, got)
		}
	}
}

func TestCredentials(t *testing.T) {
	secrets := []*v1.Secret{
		{Type: v1.SecretTypeDockerConfigJson, Data: map[string][]byte{v1.DockerConfigJsonKey: []byte(`{"auths":{
			"registry.test":{"auth":"YW55b25lOnBhc3M="}, "registry.test/team":{"username":"team","password":"secret"}, "quay.io":{"username":"q","password":"q"}}}`)}},
		{Type: v1.SecretTypeDockercfg, Data: map[string][]byte{v1.DockerConfigKey: []byte(`{"registry.test":{"username":"old","password":"style"}}`)}},
	}
	var all []credential
	for _, s := range secrets {
		list, err := credentialsOf(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, list...)
	}
	var users []string
	for _, a := range match(all, "registry.test/team/app") {
		users = append(users, a.Username+":"+a.Password)
	}
	if got := strings.Join(users, " "); got != "team:secret anyone:pass old:style" {
		t.Errorf("credentials are %q", got)
	}
	for _, bad := range []string{`{`, `{"auths":{"a":{"auth":"%%%"}}}`, `{"auths":{"a":{"auth":"bm9jb2xvbg=="}}}`} {
		if _, err := credentialsOf(&v1.Secret{Type: v1.SecretTypeDockerConfigJson, Data: map[string][]byte{v1.DockerConfigJsonKey: []byte(bad)}}); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
