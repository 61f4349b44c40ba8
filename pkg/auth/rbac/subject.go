// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/client-go/tools/cache"
)

// subject is whom a binding names, in the two forms that requests know: a user name or a group. A ServiceAccount is
// the user that it authenticates as.
type subject struct {
	kind, name string
}

// subjectOf resolves s, of a binding in namespace (empty for a cluster-wide one). ok is false for what can never apply.
func subjectOf(s *rbacv1.Subject, namespace string) (_ subject, ok bool) {
	switch s.Kind {
	case rbacv1.UserKind, rbacv1.GroupKind:
		return subject{s.Kind, s.Name}, true
	case rbacv1.ServiceAccountKind:
		if s.Namespace != "" {
			namespace = s.Namespace
		}
		if namespace == "" {
			return subject{}, false
		}
		return subject{rbacv1.UserKind, serviceaccount.MakeUsername(namespace, s.Name)}, true
	}
	return subject{}, false
}

// is tells whether s, of a binding in namespace, names this subject, without making a string.
func (key subject) is(s *rbacv1.Subject, namespace string) bool {
	if s.Kind != rbacv1.ServiceAccountKind {
		return s.Kind == key.kind && s.Name == key.name
	}
	if s.Namespace != "" {
		namespace = s.Namespace
	}
	return key.kind == rbacv1.UserKind && namespace != "" && serviceaccount.MatchesUsername(namespace, s.Name, key.name)
}

// firstSubject returns the first of a binding's subjects that the user is.
func firstSubject(subjects []rbacv1.Subject, name string, groups []string, namespace string) *rbacv1.Subject {
	for i := range subjects {
		s := &subjects[i]
		if s.Kind == rbacv1.GroupKind {
			if slices.Contains(groups, s.Name) {
				return s
			}
		} else if (subject{rbacv1.UserKind, name}).is(s, namespace) {
			return s
		}
	}
	return nil
}

// bySubject is the name of the index.
const bySubject = "hivemind.dev/rbac-subject"

// index finds bindings by subject.
type index struct {
	indexer cache.Indexer
}

// indexBySubject adds the index to an informer of RoleBindings or ClusterRoleBindings that has not started.
func indexBySubject(informer cache.SharedIndexInformer) (index, error) {
	indexer := informer.GetIndexer()
	if _, exists := indexer.GetIndexers()[bySubject]; exists {
		return index{indexer}, nil
	}
	return index{indexer}, informer.AddIndexers(cache.Indexers{bySubject: func(obj any) ([]string, error) {
		var subjects []rbacv1.Subject
		var namespace string
		switch b := obj.(type) {
		case *rbacv1.ClusterRoleBinding:
			subjects = b.Subjects
		case *rbacv1.RoleBinding:
			subjects, namespace = b.Subjects, b.Namespace
		}
		keys := make([]string, 0, len(subjects))
		for i := range subjects {
			if s, ok := subjectOf(&subjects[i], namespace); ok {
				keys = append(keys, s.key(namespace))
			}
		}
		return keys, nil
	}})
}

// of returns the bindings of that subject in namespace, or cluster-wide where it is empty. The only error of ByIndex
// is an index that does not exist, and indexBySubject made it.
func (x index) of(s subject, namespace string) []any {
	found, err := x.indexer.ByIndex(bySubject, s.key(namespace))
	if err != nil {
		return nil
	}
	return found
}

// key is the subject as a value of the index. A namespace holds no slash, and the kind is the first letter.
func (key subject) key(namespace string) string { return key.kind[:1] + namespace + "/" + key.name }
