// SPDX-License-Identifier: Apache-2.0

package testenv_test

import (
	"context"
	"fmt"
	"log"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/hivemind-project/hivemind/pkg/testenv"
)

// A cluster for all tests of a package, as TestMain would start it. A test of its own has testenv.Start(t, …), which needs no Stop.
func ExampleNew() {
	env, err := testenv.New(testenv.Options{Nodes: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer env.Stop()

	client := kubernetes.NewForConfigOrDie(env.Config())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	labels, replicas := map[string]string{"app": "web"}, int32(4)
	_, err = client.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "registry.example.com/web:1"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		log.Fatal(err)
	}

	// Its pods are scheduled, run, and become ready.
	watch, err := client.AppsV1().Deployments("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		if d, ok := event.Object.(*appsv1.Deployment); ok && d.Status.AvailableReplicas == replicas {
			fmt.Printf("%s: %d of %d replicas are available\n", d.Name, d.Status.AvailableReplicas, replicas)
			break
		}
	}
	// Output: web: 4 of 4 replicas are available
}

// A user who may do what is listed, and nothing else.
func ExampleEnv_User() {
	env, err := testenv.New(testenv.Options{Nodes: testenv.NoNodes})
	if err != nil {
		log.Fatal(err)
	}
	defer env.Stop()

	ctx := context.Background()
	config, err := env.User(ctx, testenv.User{
		Name:  "alice",
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	alice := kubernetes.NewForConfigOrDie(config)
	_, err = alice.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	fmt.Println("list configmaps:", err)
	_, err = alice.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{})
	fmt.Println("list secrets: forbidden:", apierrors.IsForbidden(err))
	// Output:
	// list configmaps: <nil>
	// list secrets: forbidden: true
}
