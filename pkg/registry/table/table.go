// SPDX-License-Identifier: Apache-2.0

// Package table says what `kubectl get` prints of every kind: columns in the words of Kubernetes, each with a function
// that makes its cell from an object. A table costs its cells; nothing is registered or found by reflection but the
// items of a list.
package table

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/rest"
)

// For returns what makes tables of that kind. A kind without columns of its own shows its name and when it was created.
// Objects are of the type in k8s.io/api that is the hub: core/v1 for Event, autoscaling/v2 for HorizontalPodAutoscaler.
func For(kind schema.GroupKind) rest.TableConvertor {
	for _, find := range []func(schema.GroupKind) rest.TableConvertor{forCore, forWorkloads, forNetwork, forStorage, forCluster} {
		if convertor := find(kind); convertor != nil {
			return convertor
		}
	}
	return rest.NewDefaultTableConvertor(schema.GroupResource{Group: kind.Group, Resource: kind.Kind})
}

// column is one column of tables of T, and how its cells are made.
type column[T any] struct {
	metav1.TableColumnDefinition
	cell func(*T) any
}

// table makes tables of objects and lists of T.
type table[T any] struct {
	columns []column[T]
	// conditions of a row; nil where rows have none.
	conditions func(*T) []metav1.TableRowCondition
	// order of the rows of a list; nil keeps that of the list.
	order func(a, b *T) int
}

func of[T any](columns ...column[T]) *table[T] { return &table[T]{columns: columns} }

// text is a column of strings, with its description.
func text[T any](name, description string, cell func(*T) any) column[T] {
	return column[T]{metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}, cell}
}

func integer[T any](name, description string, cell func(*T) any) column[T] {
	return column[T]{metav1.TableColumnDefinition{Name: name, Type: "integer", Description: description}, cell}
}

func boolean[T any](name, description string, cell func(*T) any) column[T] {
	return column[T]{metav1.TableColumnDefinition{Name: name, Type: "boolean", Description: description}, cell}
}

// wide is the column as one that only `-o wide` shows.
func (c column[T]) wide() column[T] {
	c.Priority = 1
	return c
}

// name is the column that tells objects apart.
func name[T any]() column[T] {
	return nameBy(func(o *T) any { return any(o).(metav1.Object).GetName() })
}

func nameBy[T any](cell func(*T) any) column[T] {
	c := text("Name", metav1.ObjectMeta{}.SwaggerDoc()["name"], cell)
	c.Format = "name"
	return c
}

func age[T any]() column[T] {
	return text("Age", metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"], func(o *T) any {
		return since(any(o).(metav1.Object).GetCreationTimestamp())
	})
}

// ConvertToTable implements rest.TableConvertor.
func (t *table[T]) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	out := &metav1.Table{}
	tableOptions, ok := options.(*metav1.TableOptions)
	if options != nil && !ok {
		return nil, fmt.Errorf("unrecognized type %T for table options, can't display tabular output", options)
	}
	if tableOptions == nil || !tableOptions.NoHeaders {
		for _, c := range t.columns {
			out.ColumnDefinitions = append(out.ColumnDefinitions, c.TableColumnDefinition)
		}
	}
	items, err := t.items(obj)
	if err != nil {
		return nil, err
	}
	out.Rows = make([]metav1.TableRow, 0, len(items))
	for _, item := range items {
		out.Rows = append(out.Rows, t.row(item))
	}
	if list, err := meta.ListAccessor(obj); err == nil {
		out.ResourceVersion, out.Continue, out.RemainingItemCount = list.GetResourceVersion(), list.GetContinue(), list.GetRemainingItemCount()
	} else if m, err := meta.CommonAccessor(obj); err == nil {
		out.ResourceVersion = m.GetResourceVersion()
	}
	return out, nil
}

func (t *table[T]) items(obj runtime.Object) ([]*T, error) {
	if item, ok := any(obj).(*T); ok {
		return []*T{item}, nil
	}
	if !meta.IsListType(obj) {
		return nil, fmt.Errorf("no table handler registered for this type %T", obj)
	}
	var items []*T
	err := meta.EachListItem(obj, func(o runtime.Object) error {
		item, ok := any(o).(*T)
		if !ok {
			return fmt.Errorf("no table handler registered for this type %T", o)
		}
		items = append(items, item)
		return nil
	})
	if t.order != nil {
		slices.SortStableFunc(items, t.order)
	}
	return items, err
}

func (t *table[T]) row(item *T) metav1.TableRow {
	row := metav1.TableRow{Cells: make([]any, len(t.columns))}
	for i, c := range t.columns {
		row.Cells[i] = c.cell(item)
	}
	if t.conditions != nil {
		row.Conditions = t.conditions(item)
	}
	if o, ok := any(item).(runtime.Object); ok {
		row.Object = runtime.RawExtension{Object: o}
	}
	return row
}

// since is how long ago that was, short: 5m, 3d4h.
func since(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}

// or is the value, or what stands for none.
func or[S ~string](value S, none string) string {
	if value == "" {
		return none
	}
	return string(value)
}

// deref is what the pointer points to, or what stands for nothing.
func deref[V any](pointer *V, none V) V {
	if pointer == nil {
		return none
	}
	return *pointer
}
