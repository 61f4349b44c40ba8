// SPDX-License-Identifier: Apache-2.0

package tokencleaner

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func secret(namespace, name string, kind corev1.SecretType, expiration string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: kind, Data: map[string][]byte{}}
	if expiration != "" {
		s.Data["expiration"] = []byte(expiration)
	}
	return s
}

func TestExpiredTokensGo(t *testing.T) {
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	const token = corev1.SecretTypeBootstrapToken
	c := testcluster.New(t,
		secret("kube-system", "expired", token, in(-time.Hour)),
		secret("kube-system", "unreadable", token, "tomorrow"),
		secret("kube-system", "soon", token, in(2*time.Second)),
		secret("kube-system", "later", token, in(time.Hour)),
		secret("kube-system", "endless", token, ""),
		secret("kube-system", "opaque", corev1.SecretTypeOpaque, in(-time.Hour)),
		secret("default", "elsewhere", token, in(-time.Hour)),
	)
	controller, err := New(c.Client, c.Informers.Core().V1().Secrets())
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	get := func(namespace, name string) error {
		_, err := c.Client.CoreV1().Secrets(namespace).Get(t.Context(), name, metav1.GetOptions{})
		return err
	}
	goes := func(name string) {
		t.Helper()
		c.Eventually(name+" to go", func() error {
			if err := get("kube-system", name); !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is there: %w", err)
			}
			return nil
		})
	}
	goes("expired")
	goes("unreadable")
	later, err := c.Client.CoreV1().Secrets("kube-system").Get(t.Context(), "later", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	later.Data["expiration"] = []byte(in(-time.Minute))
	if _, err := c.Client.CoreV1().Secrets("kube-system").Update(t.Context(), later, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	goes("later")
	goes("soon")
	for _, key := range [][2]string{{"kube-system", "endless"}, {"kube-system", "opaque"}, {"default", "elsewhere"}} {
		if err := get(key[0], key[1]); err != nil {
			t.Error(err)
		}
	}
}
