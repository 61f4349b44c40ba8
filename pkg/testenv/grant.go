// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	rbacinformers "k8s.io/client-go/informers/rbac/v1"
	typedrbacv1 "k8s.io/client-go/kubernetes/typed/rbac/v1"
)

// generated is the beginning of the names of roles and bindings that are made for users.
const generated = "testenv-user-"

// grant makes the roles and bindings of a user and waits until the informers that the authorizer reads have seen them.
func grant(ctx context.Context, client typedrbacv1.RbacV1Interface, seen rbacinformers.Interface, u User) error {
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: u.Name}}
	meta := metav1.ObjectMeta{GenerateName: generated}
	clusterRoles := u.ClusterRoles
	if len(u.Rules) > 0 {
		role, err := client.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: u.Rules}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if err := known(ctx, role.Name, seen.ClusterRoles().Lister().Get); err != nil {
			return err
		}
		clusterRoles = append(clusterRoles[:len(clusterRoles):len(clusterRoles)], role.Name)
	}
	for _, name := range clusterRoles {
		if _, err := client.ClusterRoles().Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err // a binding to a role that is not there would grant nothing, silently
		}
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
		binding, err := client.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: ref}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if err := known(ctx, binding.Name, seen.ClusterRoleBindings().Lister().Get); err != nil {
			return err
		}
	}
	for namespace, rules := range u.NamespaceRules {
		role, err := client.Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if err := known(ctx, role.Name, seen.Roles().Lister().Roles(namespace).Get); err != nil {
			return err
		}
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name}
		binding, err := client.RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: ref}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if err := known(ctx, binding.Name, seen.RoleBindings().Lister().RoleBindings(namespace).Get); err != nil {
			return err
		}
	}
	return nil
}

// known waits until a lister of this process has an object, which takes less than a millisecond after it was written.
func known[T any](ctx context.Context, name string, get func(name string) (T, error)) error {
	ticker := time.NewTicker(200 * time.Microsecond)
	defer ticker.Stop()
	for {
		_, err := get(name)
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the API server to see %s: %w", name, context.Cause(ctx))
		}
	}
}
