// SPDX-License-Identifier: Apache-2.0

package rootca

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func TestPublishes(t *testing.T) {
	ctx := context.Background()
	active := corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	c := testcluster.New(t,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: active},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "stale"}, Status: active},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "stale", Name: Name, Labels: map[string]string{"kept": "yes"}}, Data: map[string]string{"ca.crt": "old", "x": "y"}},
	)
	core := c.Informers.Core().V1()
	controller, err := New(c.Client, core.ConfigMaps(), core.Namespaces(), []byte("PEM"))
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	published := func(namespace string) func() error {
		return func() error {
			cm, err := c.Client.CoreV1().ConfigMaps(namespace).Get(ctx, Name, metav1.GetOptions{})
			if err == nil && (len(cm.Data) != 1 || cm.Data["ca.crt"] != "PEM" || cm.Annotations[DescriptionAnnotation] == "") {
				err = fmt.Errorf("%+v", cm)
			}
			return err
		}
	}
	c.Eventually("at start", published("a"))
	c.Eventually("what is stale is replaced", published("stale"))
	cm, err := c.Client.CoreV1().ConfigMaps("stale").Get(ctx, Name, metav1.GetOptions{})
	if err != nil || cm.Labels["kept"] != "yes" {
		t.Errorf("labels %v, error %v", cm.Labels, err)
	}
	cm.Data["ca.crt"] = "edited"
	if _, err := c.Client.CoreV1().ConfigMaps("stale").Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("what is edited is mended", published("stale"))
	if err := c.Client.CoreV1().ConfigMaps("a").Delete(ctx, Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("what is deleted comes back", published("a"))
}
