// SPDX-License-Identifier: Apache-2.0

package serviceaccount

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func namespace(name string, phase corev1.NamespacePhase) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NamespaceStatus{Phase: phase}}
}

func TestEveryNamespaceHasOne(t *testing.T) {
	ctx := context.Background()
	c := testcluster.New(t, namespace("a", corev1.NamespaceActive), namespace("gone", corev1.NamespaceTerminating))
	core := c.Informers.Core().V1()
	controller, err := New(c.Client, core.ServiceAccounts(), core.Namespaces())
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	has := func(namespace string) func() error {
		return func() error {
			_, err := c.Client.CoreV1().ServiceAccounts(namespace).Get(ctx, Name, metav1.GetOptions{})
			return err
		}
	}
	c.Eventually("namespace at start", has("a"))
	if _, err := c.Client.CoreV1().Namespaces().Create(ctx, namespace("b", corev1.NamespaceActive), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("new namespace", has("b"))
	if err := c.Client.CoreV1().ServiceAccounts("b").Delete(ctx, Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("made again", has("b"))
	if has("gone")() == nil {
		t.Error("made in a namespace that is being deleted")
	}
	list, err := c.Client.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 2 {
		t.Errorf("accounts %v, error %v", list.Items, err)
	}
}
