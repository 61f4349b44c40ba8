// SPDX-License-Identifier: Apache-2.0

package server

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/pkg/auth/pki"
)

// Aggregated servers learn from a ConfigMap whom to believe; what this server says there comes back whatever becomes of it, beside what others say.
func TestAuthenticationIsKept(t *testing.T) {
	c := newCluster(t)
	configMaps := c.CoreV1().ConfigMaps("kube-system")
	published, err := configMaps.Get(t.Context(), authenticationName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"client-ca-file":                     string(c.server.identities.CA.CertPEM),
		"requestheader-client-ca-file":       string(c.server.identities.FrontProxyCA.CertPEM),
		"requestheader-allowed-names":        `["front-proxy-client"]`,
		"requestheader-username-headers":     `["X-Remote-User"]`,
		"requestheader-uid-headers":          `["X-Remote-Uid"]`,
		"requestheader-group-headers":        `["X-Remote-Group"]`,
		"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
	}
	if diff := cmp.Diff(want, published.Data); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	becomes := func(what string, want map[string]string) {
		eventually(t, what, func() (bool, error) {
			got, err := configMaps.Get(t.Context(), authenticationName, metav1.GetOptions{})
			return err == nil && cmp.Equal(want, got.Data), err
		})
	}
	changed := published.DeepCopy()
	changed.Data["requestheader-allowed-names"] = `["another-proxy"]`
	changed.Data["requestheader-group-headers"] = `no list`
	changed.Data["client-ca-file"] = "no certificate"
	changed.Data["not-read-by-anyone"] = "x"
	if _, err := configMaps.Update(t.Context(), changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	united := maps.Clone(want)
	united["requestheader-allowed-names"] = `["another-proxy","front-proxy-client"]`
	becomes("what is read to be united and the rest to be restored", united)
	if err := configMaps.Delete(t.Context(), authenticationName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	becomes("the deletion to be undone", want)
}

func TestUniteAuthentication(t *testing.T) {
	bundle, err := pki.Ensure(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	one, other := string(bundle.CA.CertPEM), string(bundle.FrontProxyCA.CertPEM)
	const lists = "requestheader-username-headers"
	for name, c := range map[string]struct {
		published, ours, want map[string]string
		now                   time.Time
		err                   string
	}{
		"nothing":           {ours: map[string]string{clientAuthorities: one, lists: `["a"]`}, want: map[string]string{clientAuthorities: one, lists: `["a"]`}},
		"the same":          {published: map[string]string{clientAuthorities: one, lists: `["a"]`}, ours: map[string]string{clientAuthorities: one, lists: `["a"]`}, want: map[string]string{clientAuthorities: one, lists: `["a"]`}},
		"others' first":     {published: map[string]string{clientAuthorities: other, lists: `["b","a","b"]`}, ours: map[string]string{clientAuthorities: one, lists: `["a","c"]`}, want: map[string]string{clientAuthorities: other + one, lists: `["b","a","c"]`}},
		"bundles":           {published: map[string]string{proxyAuthorities: one + other + one}, ours: map[string]string{proxyAuthorities: other}, want: map[string]string{proxyAuthorities: one + other}},
		"no certificate":    {published: map[string]string{clientAuthorities: "x"}, ours: map[string]string{clientAuthorities: one}, want: map[string]string{clientAuthorities: one}, err: clientAuthorities},
		"no list":           {published: map[string]string{lists: `"a"`}, ours: map[string]string{lists: `["a"]`}, want: map[string]string{lists: `["a"]`}, err: lists},
		"expired":           {published: map[string]string{clientAuthorities: other}, ours: map[string]string{clientAuthorities: one}, want: map[string]string{}, now: time.Now().AddDate(100, 0, 0)},
		"keys of no reader": {published: map[string]string{"x": "y"}, ours: map[string]string{lists: `["a"]`}, want: map[string]string{lists: `["a"]`}},
	} {
		t.Run(name, func(t *testing.T) {
			now := c.now
			if now.IsZero() {
				now = time.Now()
			}
			got, err := unite(c.published, c.ours, now)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want one with %q", err, c.err)
			}
		})
	}
}
