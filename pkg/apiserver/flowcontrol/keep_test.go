// SPDX-License-Identifier: Apache-2.0

package flowcontrol

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

const auto = flowcontrolv1.AutoUpdateAnnotationKey

// flow is a FlowSchema of a precedence, which stands for all of its spec. The annotation is left out where it is empty.
func flow(name string, precedence int32, generation int64, annotation string) *flowcontrolv1.FlowSchema {
	s := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: generation}, Spec: flowcontrolv1.FlowSchemaSpec{MatchingPrecedence: precedence}}
	if annotation != "" {
		s.Annotations = map[string]string{auto: annotation}
	}
	return s
}

func TestPlan(t *testing.T) {
	schemas := kind[*flowcontrolv1.FlowSchema]{
		mandatory: []*flowcontrolv1.FlowSchema{flow("must", 1, 0, "true")},
		suggested: []*flowcontrolv1.FlowSchema{flow("may", 2, 0, "true")},
		revise:    reviseSchema,
	}
	must, may := flow("must", 1, 1, "true"), flow("may", 2, 1, "true")
	for _, c := range []struct {
		name   string
		stored []*flowcontrolv1.FlowSchema
		want   []string
	}{
		{"nothing is there", nil, []string{"create may 2 true", "create must 1 true"}},
		{"all is as it should be", []*flowcontrolv1.FlowSchema{must, may}, nil},
		{"what is mandatory is not changed", []*flowcontrolv1.FlowSchema{flow("must", 9, 2, "false"), may}, []string{"update must 1 true"}},
		{"what is suggested is not changed while it follows the server", []*flowcontrolv1.FlowSchema{must, flow("may", 9, 2, "true")}, []string{"update may 2 true"}},
		{"it may be changed by who says so", []*flowcontrolv1.FlowSchema{must, flow("may", 9, 2, "false")}, nil},
		{"one without the annotation whose spec was changed is left so", []*flowcontrolv1.FlowSchema{must, flow("may", 9, 2, "")}, []string{"update may 9 false"}},
		{"one without the annotation whose spec was not follows", []*flowcontrolv1.FlowSchema{must, flow("may", 3, 1, "")}, []string{"update may 2 true"}},
		{"nor does one whose annotation says nothing", []*flowcontrolv1.FlowSchema{must, flow("may", 9, 2, "perhaps")}, []string{"update may 9 false"}},
		{"what an earlier version suggested goes", []*flowcontrolv1.FlowSchema{must, may, flow("old", 5, 1, "true")}, []string{"remove old 5 true"}},
		{"what others made stays", []*flowcontrolv1.FlowSchema{must, may, flow("theirs", 5, 1, ""), flow("kept", 5, 1, "false")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, w := range schemas.plan(c.stored) {
				what, o := "remove", w.remove
				if w.create != nil {
					what, o = "create", w.create
				} else if w.update != nil {
					what, o = "update", w.update
				}
				got = append(got, what+" "+o.Name+" "+string('0'+rune(o.Spec.MatchingPrecedence))+" "+o.Annotations[auto])
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
		})
	}
	if must.Annotations[auto] != "true" || must.Spec.MatchingPrecedence != 1 {
		t.Error("a stored object was changed in place")
	}
}

// The administrator says how much of the server the exempt level lends.
func TestReviseExemptLevel(t *testing.T) {
	level := func(lends int32) *flowcontrolv1.PriorityLevelConfiguration {
		return &flowcontrolv1.PriorityLevelConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: flowcontrolv1.PriorityLevelConfigurationNameExempt},
			Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementExempt,
				Exempt: &flowcontrolv1.ExemptPriorityLevelConfiguration{LendablePercent: ptr.To(lends)}},
		}
	}
	if _, changed := reviseLevel(level(50), level(0), true); changed {
		t.Error("what it lends is changed")
	}
	bare := level(0)
	bare.Spec.Exempt = nil
	if revised, changed := reviseLevel(bare, level(0), true); !changed || revised.Spec.Exempt == nil {
		t.Errorf("what it lacks is not added: %+v", revised.Spec)
	}
	limited := level(50)
	limited.Spec.Limited = &flowcontrolv1.LimitedPriorityLevelConfiguration{}
	if revised, changed := reviseLevel(limited, level(0), true); !changed || revised.Spec.Limited != nil || *revised.Spec.Exempt.LendablePercent != 50 {
		t.Errorf("it is not made whole: %+v", revised.Spec)
	}
}

// stored is both ends of a kind.
type stored struct {
	mu    sync.Mutex
	all   map[string]*flowcontrolv1.FlowSchema
	fails error
	wrote chan string
}

func (s *stored) List(labels.Selector) ([]*flowcontrolv1.FlowSchema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.all)), nil
}

func (s *stored) put(o *flowcontrolv1.FlowSchema) (*flowcontrolv1.FlowSchema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fails; err != nil {
		s.fails = nil
		return nil, err
	}
	s.all[o.Name] = o
	s.wrote <- o.Name
	return o, nil
}

func (s *stored) Create(_ context.Context, o *flowcontrolv1.FlowSchema, options metav1.CreateOptions) (*flowcontrolv1.FlowSchema, error) {
	if options.FieldManager != "api-priority-and-fairness-config-producer-v1" {
		return nil, fmt.Errorf("written by %q", options.FieldManager)
	}
	return s.put(o)
}

func (s *stored) Update(_ context.Context, o *flowcontrolv1.FlowSchema, _ metav1.UpdateOptions) (*flowcontrolv1.FlowSchema, error) {
	return s.put(o)
}

func (s *stored) Delete(_ context.Context, name string, _ metav1.DeleteOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, name)
	s.wrote <- "-" + name
	return nil
}

func TestKeep(t *testing.T) {
	store := &stored{all: map[string]*flowcontrolv1.FlowSchema{}, wrote: make(chan string, 10), fails: errors.New("not yet")}
	c := &Control{
		changed: make(chan struct{}, 1),
		levels:  kind[*flowcontrolv1.PriorityLevelConfiguration]{lister: noLevels{}},
		schemas: kind[*flowcontrolv1.FlowSchema]{lister: store, writer: store, mandatory: []*flowcontrolv1.FlowSchema{flow("must", 1, 0, "true")}, revise: reviseSchema},
	}
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-store.wrote:
			if got != want {
				t.Fatalf("wrote %s, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s is not written", want)
		}
	}
	if err := c.Ensure(t.Context()); err != nil { // after a failure
		t.Fatal(err)
	}
	expect("must")

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Keep(ctx)
	}()
	store.mu.Lock()
	store.all["must"], store.all["old"] = flow("must", 7, 2, "true"), flow("old", 5, 1, "true")
	store.fails = errors.New("not now")
	store.mu.Unlock()
	c.noteChange()
	expect("-old")
	expect("must") // once more after the failure
	cancel()
	<-ended
}

type noLevels struct{}

func (noLevels) List(labels.Selector) ([]*flowcontrolv1.PriorityLevelConfiguration, error) {
	return nil, nil
}
