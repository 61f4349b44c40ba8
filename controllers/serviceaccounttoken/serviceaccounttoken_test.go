// SPDX-License-Identifier: Apache-2.0

package serviceaccounttoken

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func account(name, uid string, secrets ...string) *corev1.ServiceAccount {
	a := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(uid)}}
	for _, s := range secrets {
		a.Secrets = append(a.Secrets, corev1.ObjectReference{Name: s})
	}
	return a
}

func secret(name, account, uid string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Annotations: map[string]string{corev1.ServiceAccountNameKey: account}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}
	if uid != "" {
		s.Annotations[corev1.ServiceAccountUIDKey] = uid
	}
	for k, v := range data {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[k] = []byte(v)
	}
	return s
}

// world is a cluster in which the controller runs.
type world struct {
	*testcluster.Cluster
	*testing.T
}

func newWorld(t *testing.T, c *testcluster.Cluster) world {
	core := c.Informers.Core().V1()
	issue := func(a *corev1.ServiceAccount, s *corev1.Secret) (string, error) {
		return "token of " + a.Name + " in " + s.Name, nil
	}
	controller, err := New(c.Client, core.ServiceAccounts(), core.Secrets(), issue, []byte("authority"))
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	return world{c, t}
}

// holds waits until a Secret holds that, and names the account.
func (w world) holds(name, account, uid string, data map[string]string) {
	w.Helper()
	w.Eventually("secret "+name, func() error {
		s, err := w.Client.CoreV1().Secrets("default").Get(w.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		got := map[string]string{}
		for k, v := range s.Data {
			got[k] = string(v)
		}
		named := map[string]string{corev1.ServiceAccountNameKey: account, corev1.ServiceAccountUIDKey: uid}
		if diff := cmp.Diff(data, got) + cmp.Diff(named, s.Annotations); diff != "" {
			return fmt.Errorf("-want +got:\n%s", diff)
		}
		return nil
	})
}

// goes waits until a Secret is gone.
func (w world) goes(name string) {
	w.Helper()
	w.Eventually("secret "+name+" to go", func() error {
		if _, err := w.Client.CoreV1().Secrets("default").Get(w.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
}

func TestFillsSecrets(t *testing.T) {
	opaque := secret("opaque", "robot", "", nil)
	opaque.Type = corev1.SecretTypeOpaque
	w := newWorld(t, testcluster.New(t, account("robot", "r1"), opaque,
		secret("empty", "robot", "", nil),
		secret("named", "robot", "r1", map[string]string{"more": "kept"}),
		secret("old", "robot", "r1", map[string]string{"ca.crt": "former", "namespace": "default", "token": "kept"}),
		secret("stranger", "nobody", "", nil),
		secret("former", "robot", "r0", map[string]string{"token": "of the former account"}),
	))
	full := func(name string) map[string]string {
		return map[string]string{"ca.crt": "authority", "namespace": "default", "token": "token of robot in " + name}
	}
	w.holds("empty", "robot", "r1", full("empty"))
	named := full("named")
	named["more"] = "kept"
	w.holds("named", "robot", "r1", named)
	w.holds("old", "robot", "r1", map[string]string{"ca.crt": "authority", "namespace": "default", "token": "kept"})
	w.goes("stranger")
	w.goes("former")
	if _, err := w.Client.CoreV1().Secrets("default").Create(t.Context(), secret("new", "robot", "", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.holds("new", "robot", "r1", full("new"))
	kept, err := w.Client.CoreV1().Secrets("default").Get(t.Context(), "opaque", metav1.GetOptions{})
	if err != nil || len(kept.Data) > 0 {
		t.Errorf("a Secret of another type has data %v, error %v", kept.Data, err)
	}
}

func TestSecretsGoWithTheirAccount(t *testing.T) {
	w := newWorld(t, testcluster.New(t, account("robot", "r1"), account("other", "o1"), secret("one", "robot", "", nil), secret("two", "other", "", nil)))
	two := map[string]string{"ca.crt": "authority", "namespace": "default", "token": "token of other in two"}
	w.holds("two", "other", "o1", two)
	if err := w.Client.CoreV1().ServiceAccounts("default").Delete(t.Context(), "robot", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.goes("one")
	w.holds("two", "other", "o1", two)
}

func TestAccountsForgetSecrets(t *testing.T) {
	w := newWorld(t, testcluster.New(t, account("robot", "r1", "registry", "one", "two"), secret("one", "robot", "r1", nil), secret("two", "robot", "r1", nil)))
	if err := w.Client.CoreV1().Secrets("default").Delete(t.Context(), "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the reference to go", func() error {
		a, err := w.Client.CoreV1().ServiceAccounts("default").Get(t.Context(), "robot", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if diff := cmp.Diff(account("robot", "r1", "registry", "two").Secrets, a.Secrets); diff != "" {
			return fmt.Errorf("-want +got:\n%s", diff)
		}
		return nil
	})
}
