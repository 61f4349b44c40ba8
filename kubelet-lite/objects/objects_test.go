// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

func podWith(uid string, volumes ...v1.VolumeSource) *v1.Pod {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: uid, UID: types.UID(uid)}}
	for _, v := range volumes {
		p.Spec.Volumes = append(p.Spec.Volumes, v1.Volume{VolumeSource: v})
	}
	return p
}

func configMapVolume(name string) v1.VolumeSource {
	return v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: name}}}
}

func TestReferences(t *testing.T) {
	local := func(name string) v1.LocalObjectReference { return v1.LocalObjectReference{Name: name} }
	p := podWith("u", configMapVolume("cm-volume"), configMapVolume("twice"),
		v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "s-volume"}},
		v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{
			{ConfigMap: &v1.ConfigMapProjection{LocalObjectReference: local("cm-projected")}},
			{Secret: &v1.SecretProjection{LocalObjectReference: local("s-projected")}},
			{ServiceAccountToken: &v1.ServiceAccountTokenProjection{}},
		}}},
		v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})
	p.Spec.ImagePullSecrets = []v1.LocalObjectReference{local("s-pull"), local("")}
	p.Spec.InitContainers = []v1.Container{{EnvFrom: []v1.EnvFromSource{{SecretRef: &v1.SecretEnvSource{LocalObjectReference: local("s-init")}}}}}
	p.Spec.Containers = []v1.Container{{
		EnvFrom: []v1.EnvFromSource{{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: local("twice")}}},
		Env: []v1.EnvVar{{Value: "plain"},
			{ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{}}},
			{ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: local("s-env")}}}},
	}}
	p.Spec.EphemeralContainers = []v1.EphemeralContainer{{EphemeralContainerCommon: v1.EphemeralContainerCommon{
		Env: []v1.EnvVar{{ValueFrom: &v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: local("cm-debug")}}}}}}}
	var got []string
	for _, k := range references(p) {
		got = append(got, string(k.kind)+" "+k.namespace+"/"+k.name)
	}
	want := []string{"configmap ns/cm-debug", "configmap ns/cm-projected", "configmap ns/cm-volume", "configmap ns/twice",
		"secret ns/s-env", "secret ns/s-init", "secret ns/s-projected", "secret ns/s-pull", "secret ns/s-volume"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestCacheFollowsAndDrops(t *testing.T) {
	ctx := t.Context()
	yes := true
	client := fake.NewClientset(
		&v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}, Data: map[string]string{"k": "1"}},
		&v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "fixed"}, Data: map[string]string{"k": "1"}, Immutable: &yes},
	)
	c := New(ctx, client)
	one, two := podWith("one", configMapVolume("a"), configMapVolume("fixed"), configMapVolume("later")), podWith("two", configMapVolume("a"))

	if _, err := c.GetConfigMap("ns", "a"); err == nil || err.Error() != `object "ns"/"a" not registered` {
		t.Errorf("before registration: %v", err)
	}
	c.Register(one)
	c.Register(one)
	c.Register(two)
	get := func(name string) string {
		cm, err := c.GetConfigMap("ns", name)
		if err != nil {
			return err.Error()
		}
		return cm.Data["k"]
	}
	for name, want := range map[string]string{"a": "1", "fixed": "1", "later": `configmap "later" not found`} {
		if got := get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if _, err := c.GetConfigMap("ns", "later"); !apierrors.IsNotFound(err) {
		t.Errorf("%v is not a NotFound", err)
	}

	write := func(name, value string) {
		cm := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Data: map[string]string{"k": value}}
		if _, err := client.CoreV1().ConfigMaps("ns").Update(ctx, cm, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
			_, err = client.CoreV1().ConfigMaps("ns").Create(ctx, cm, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
		} else if err != nil {
			t.Fatal(err)
		}
	}
	// The fake server loses events between list and watch, so a change is repeated until it is seen.
	for name, want := range map[string]string{"a": "2", "later": "3"} {
		eventually(t, name+" follows", func() bool { write(name, want); return get(name) == want })
	}
	if err := client.CoreV1().ConfigMaps("ns").Delete(ctx, "later", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "deletion is seen", func() bool { return strings.HasSuffix(get("later"), "not found") })

	c.Unregister(one)
	c.Unregister(one)
	if got := get("a"); got != "2" {
		t.Errorf("a, still used by two: %q", got)
	}
	if got := get("later"); got != `object "ns"/"later" not registered` {
		t.Errorf("later, used by none: %q", got)
	}
	c.Register(podWith("two")) // its spec names nothing any more
	if len(c.items) != 0 {
		t.Errorf("%d objects are still watched", len(c.items))
	}
}

func TestCacheTellsWhyItCannotRead(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("list", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("secrets is forbidden")
	})
	c := New(t.Context(), client)
	c.Register(podWith("p", v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "s"}}))
	_, err := c.GetSecret("ns", "s")
	if err == nil || !strings.HasPrefix(err.Error(), "failed to sync secret cache: ") {
		t.Errorf("error %v", err)
	}
}

func TestTokens(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	issued, fail := 0, false
	client := fake.NewClientset()
	client.PrependReactor("create", "serviceaccounts", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if fail {
			return true, nil, errors.New("server is down")
		}
		issued++
		tr := a.(clienttesting.CreateAction).GetObject().(*authv1.TokenRequest).DeepCopy()
		tr.Status.Token = strings.Repeat("t", issued)
		tr.Status.ExpirationTimestamp = metav1.NewTime(now.Add(time.Duration(*tr.Spec.ExpirationSeconds) * time.Second))
		return true, tr, nil
	})
	tokens := NewTokens(client)
	tokens.now = func() time.Time { return now }
	hour := int64(3600)
	spec := func(pod types.UID, audiences ...string) authv1.TokenRequestSpec {
		return authv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &hour, BoundObjectRef: &authv1.BoundObjectReference{Kind: "Pod", UID: pod}}
	}
	get := func(s authv1.TokenRequestSpec) string {
		got, err := tokens.Get(context.Background(), "ns", "default", s)
		if err != nil {
			return err.Error()
		}
		return got
	}
	for _, step := range []struct {
		what    string
		spec    authv1.TokenRequestSpec
		advance time.Duration
		fail    bool
		want    string
	}{
		{"first", spec("p", "api"), 0, false, "t"},
		{"kept", spec("p", "api"), 47 * time.Minute, false, "t"},
		{"another audience", spec("p", "vault"), 0, false, "tt"},
		{"another pod", spec("q", "api"), 0, false, "ttt"},
		{"renewed at 80 %", spec("p", "api"), time.Minute, false, "tttt"},
		{"server down, old one still good", spec("p", "api"), 59 * time.Minute, true, "tttt"},
		{"server down, old one expired", spec("p", "api"), 2 * time.Minute, true, "token of service account ns/default expired and refresh failed: server is down"},
		{"server down, none before", spec("r", "api"), 0, true, "failed to fetch token: server is down"},
	} {
		now, fail = now.Add(step.advance), step.fail
		if got := get(step.spec); got != step.want {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
	}
	tokens.Forget("p")
	if len(tokens.cache) != 1 {
		t.Errorf("%d tokens are kept, want that of q alone", len(tokens.cache))
	}
	if got := refreshAt(now, now.Add(365*24*time.Hour), 0); !got.Equal(now.Add(24 * time.Hour)) {
		t.Errorf("a token of a year is renewed at %v", got)
	}
}
