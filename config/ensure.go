// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
)

const (
	// parallel is how many writes are under way at once: etcd syncs them to disk together.
	parallel = 16
	// attempts is how often a start tries when another server writes the same objects.
	attempts = 3
)

// Ensure creates what of the seeds is missing, and adds to roles and bindings the rules and subjects they lack. What
// was added to them stays. A role or binding whose annotation rbac.authorization.kubernetes.io/autoupdate is "false" is
// left as it is. Several servers may do this at the same time.
func Ensure(ctx context.Context, client kubernetes.Interface) error {
	objects, err := Objects()
	if err != nil {
		return err
	}
	for range attempts {
		if err = ensure(ctx, client, objects); !lostRace(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("seed the cluster: %w", err)
	}
	return nil
}

func lostRace(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

func ensure(ctx context.Context, client kubernetes.Interface, objects []runtime.Object) error {
	core, rbac := client.CoreV1(), client.RbacV1()
	opts := metav1.ListOptions{}

	// Roles are made in namespaces, so those come first.
	namespaces, err := core.Namespaces().List(ctx, opts)
	if err != nil {
		return err
	}
	errNamespaces := run(ctx, plan(of[*corev1.Namespace](objects), namespaces.Items, everywhere[corev1.Namespace](core.Namespaces()), nil))

	clusterRoles, err := rbac.ClusterRoles().List(ctx, opts)
	if err != nil {
		return err
	}
	roles, err := rbac.Roles("").List(ctx, opts)
	if err != nil {
		return err
	}
	clusterBindings, err := rbac.ClusterRoleBindings().List(ctx, opts)
	if err != nil {
		return err
	}
	bindings, err := rbac.RoleBindings("").List(ctx, opts)
	if err != nil {
		return err
	}
	priorities, err := client.SchedulingV1().PriorityClasses().List(ctx, opts)
	if err != nil {
		return err
	}
	storage, err := client.StorageV1().StorageClasses().List(ctx, opts)
	if err != nil {
		return err
	}
	return errors.Join(errNamespaces, run(ctx, slices.Concat(
		plan(of[*rbacv1.ClusterRole](objects), clusterRoles.Items, everywhere[rbacv1.ClusterRole](rbac.ClusterRoles()), mergeClusterRole),
		plan(of[*rbacv1.Role](objects), roles.Items, func(namespace string) api[rbacv1.Role] { return rbac.Roles(namespace) }, mergeRole),
		plan(of[*rbacv1.ClusterRoleBinding](objects), clusterBindings.Items, everywhere[rbacv1.ClusterRoleBinding](rbac.ClusterRoleBindings()), mergeClusterRoleBinding),
		plan(of[*rbacv1.RoleBinding](objects), bindings.Items, func(namespace string) api[rbacv1.RoleBinding] { return rbac.RoleBindings(namespace) }, mergeRoleBinding),
		plan(of[*schedulingv1.PriorityClass](objects), priorities.Items, everywhere[schedulingv1.PriorityClass](client.SchedulingV1().PriorityClasses()), nil),
		plan(of[*storagev1.StorageClass](objects), storage.Items, everywhere[storagev1.StorageClass](client.StorageV1().StorageClasses()), nil),
	)))
}

// api is a typed client of one kind, within its namespace.
type api[T any] interface {
	Create(context.Context, *T, metav1.CreateOptions) (*T, error)
	Update(context.Context, *T, metav1.UpdateOptions) (*T, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

// everywhere is the client of a kind without namespaces.
func everywhere[T any](client api[T]) func(string) api[T] {
	return func(string) api[T] { return client }
}

// object is a pointer to an API type.
type object[T any] interface {
	*T
	metav1.Object
}

// merge says what becomes of an object that exists: nothing (nil), an update to what it returns, or, with replace, that
// it must go and be made anew.
type merge[T any] func(existing, wanted *T) (updated *T, replace bool)

// plan returns the writes that bring about what is wanted of one kind. A nil merge leaves alone what exists.
func plan[T any, P object[T]](wanted []P, existing []T, client func(namespace string) api[T], merge merge[T]) []func(context.Context) error {
	type key struct{ namespace, name string }
	have := make(map[key]*T, len(existing))
	for i := range existing {
		m := P(&existing[i])
		have[key{m.GetNamespace(), m.GetName()}] = &existing[i]
	}
	var writes []func(context.Context) error
	for _, want := range wanted {
		client, is := client(want.GetNamespace()), have[key{want.GetNamespace(), want.GetName()}]
		create := func(ctx context.Context) error {
			_, err := client.Create(ctx, want, metav1.CreateOptions{})
			return err
		}
		if is == nil {
			writes = append(writes, create)
			continue
		}
		if merge == nil || P(is).GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false" {
			continue
		}
		updated, replace := merge(is, want)
		switch {
		case replace:
			uid := P(is).GetUID()
			writes = append(writes, func(ctx context.Context) error {
				err := client.Delete(ctx, want.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
				if err != nil {
					return err
				}
				return create(ctx)
			})
		case updated != nil:
			writes = append(writes, func(ctx context.Context) error {
				_, err := client.Update(ctx, updated, metav1.UpdateOptions{})
				return err
			})
		}
	}
	return writes
}

// run does the writes, several at a time, each whatever becomes of the others, and returns their errors joined.
func run(ctx context.Context, writes []func(context.Context) error) error {
	errs := make([]error, len(writes))
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i, write := range writes {
		slots <- struct{}{}
		wg.Go(func() {
			errs[i] = write(ctx)
			<-slots
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
