// SPDX-License-Identifier: Apache-2.0

package customresources

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/finalizer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/tools/cache"
)

// toy is a handler that only knows what it was made of.
type toy struct {
	http.Handler
	rules bool
}

func (*toy) GetCustomResourceListerCollectionDeleter(*apiextensionsv1.CustomResourceDefinition) (finalizer.ListerCollectionDeleter, error) {
	return nil, nil
}

// shelf is a keeper of toys, and the definitions that it sees.
type shelf struct {
	*keeper
	definitions cache.Indexer
	built       int
	serve       http.HandlerFunc // what its handlers do
}

func newShelf() *shelf {
	s := &shelf{definitions: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}), serve: http.NotFound}
	s.keeper = newKeeper(listers.NewCustomResourceDefinitionLister(s.definitions), func(o *one) (handler, error) {
		s.built++
		return &toy{Handler: s.serve, rules: contentsOf(o.served).programs > 0}, nil
	})
	return s
}

// lamps is a definition with so many rules.
func lamps(i, rules int) *apiextensionsv1.CustomResourceDefinition {
	spec := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"color": {Type: "string"}}}
	for range rules {
		spec.XValidations = append(spec.XValidations, apiextensionsv1.ValidationRule{Rule: "true"})
	}
	name := fmt.Sprintf("lamps%d.example.com", i)
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Generation: 1},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
				Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": spec},
			}}}}},
	}
}

// half is so many rules that two definitions with them are all that is kept.
var half = int(budgets[true]/2-versionCost-3*placeCost-environmentCost) / programCost

// use takes the handler of d, builds it, and returns what gives it back.
func (s *shelf) use(t *testing.T, d *apiextensionsv1.CustomResourceDefinition, validates bool) (*kept, func()) {
	t.Helper()
	h, err := s.take(t.Context(), d, validates)
	if err != nil {
		t.Fatal(err)
	}
	built, err := s.keeper.built(h)
	if err != nil {
		t.Fatal(err)
	}
	if want := validates && contentsOf(d).programs > 0; built.(*toy).rules != want {
		t.Errorf("%s: a handler whose having rules is %v, want %v", d.Name, !want, want)
	}
	return h, func() { s.giveBack(h) }
}

// A watch goes on when it has been handed to the handler.
func TestHandlerIsHeldToTheEnd(t *testing.T) {
	s := newShelf()
	d := lamps(1, 0)
	d.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
	if err := s.definitions.Add(d); err != nil {
		t.Fatal(err)
	}
	var end func()
	server := &Server{Config{Definitions: newOne(s.keeper.definitions, d, false), AtEnd: func(_ *http.Request, f func()) { end = f }}, s.keeper}
	info := &apirequest.RequestInfo{IsResourceRequest: true, Verb: "watch", APIGroup: "example.com", Resource: "lamps1"}
	server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(apirequest.WithRequestInfo(t.Context(), info), http.MethodGet, "/", nil))
	h := s.kept[key{uid: d.UID}]
	if h == nil || h.uses != 1 {
		t.Fatalf("after ServeHTTP: %+v, want one use", h)
	}
	if end(); h.uses != 0 {
		t.Errorf("at the end: %d uses", h.uses)
	}
}

// Watches end a moment after their definition has changed or is gone, and not when only its status has; all else goes on to its end.
func TestWatchesEndWithTheirDefinition(t *testing.T) {
	changed, status := lamps(1, 0), lamps(1, 0)
	changed.Generation = 2
	status.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionFalse}}
	for _, tt := range []struct {
		name, verb string
		happens    func(s *shelf)
		ends       bool
	}{
		{"its schema changes", "watch", func(s *shelf) { s.changed(changed) }, true},
		{"it changes while another asks", "watch", func(s *shelf) { s.use(t, changed, false) }, true},
		{"it goes", "watch", func(s *shelf) { s.forget(changed.UID) }, true},
		{"its status changes", "watch", func(s *shelf) { s.changed(status) }, false},
		{"another one changes", "watch", func(s *shelf) { s.changed(lamps(2, 0)) }, false},
		{"a list goes on", "list", func(s *shelf) { s.changed(changed) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, d := newShelf(), lamps(1, 0)
				defer s.stop()
				d.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
				if err := s.definitions.Add(d); err != nil {
					t.Fatal(err)
				}
				var served context.Context
				s.serve = func(_ http.ResponseWriter, r *http.Request) { served = r.Context() }
				var end func()
				server := &Server{Config{Definitions: newOne(s.keeper.definitions, d, false), AtEnd: func(_ *http.Request, f func()) { end = f }}, s.keeper}
				info := &apirequest.RequestInfo{IsResourceRequest: true, Verb: tt.verb, APIGroup: "example.com", Resource: "lamps1"}
				server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(apirequest.WithRequestInfo(t.Context(), info), http.MethodGet, "/", nil))
				tt.happens(s)
				time.Sleep(lastWords - time.Nanosecond)
				synctest.Wait()
				if served.Err() != nil {
					t.Error("it has ended at once")
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if ended := served.Err() != nil; ended != tt.ends {
					t.Errorf("it has ended: %v, want %v", ended, tt.ends)
				}
				end()
			})
		})
	}
}

func TestRulesAreCompiledForThoseWhoWrite(t *testing.T) {
	s := newShelf()
	ruled, plain := lamps(1, 3), lamps(2, 0)
	for range 3 {
		for _, d := range []*apiextensionsv1.CustomResourceDefinition{ruled, plain} {
			for _, validates := range []bool{false, true} {
				_, done := s.use(t, d, validates)
				done()
			}
		}
	}
	if s.built != 3 {
		t.Errorf("%d handlers were built, want 3: two of the definition with rules", s.built)
	}
}

func TestWhatWasUsedLongestAgoGoes(t *testing.T) {
	s := newShelf()
	for i := range 3 {
		_, done := s.use(t, lamps(i, half), true)
		done()
	}
	_, done := s.use(t, lamps(2, half), true)
	done()
	_, done = s.use(t, lamps(1, half), true)
	done()
	if s.built != 3 {
		t.Errorf("%d handlers were built, want 3: the last two are kept", s.built)
	}
	_, done = s.use(t, lamps(0, half), true)
	done()
	if s.built != 4 {
		t.Errorf("%d handlers were built, want 4: the first is not kept", s.built)
	}
	if used := s.used[true]; used > budgets[true] {
		t.Errorf("%d bytes are in use, the budget is %d", used, budgets[true])
	}
}

func TestRequestsWaitForRoom(t *testing.T) {
	s := newShelf()
	_, first := s.use(t, lamps(1, half), true)
	_, second := s.use(t, lamps(2, half), true)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.take(ctx, lamps(3, half), true); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a third is let in: %v", err)
	}
	if _, err := s.take(ctx, lamps(3, half), false); err != nil {
		t.Fatalf("a request that only reads waits: %v", err)
	}
	// The same again finds what is in use.
	_, third := s.use(t, lamps(2, half), true)
	third()

	got := make(chan error)
	go func() {
		h, err := s.take(t.Context(), lamps(3, half), true)
		if err == nil {
			s.giveBack(h)
		}
		got <- err
	}()
	for waits := false; !waits; runtime.Gosched() {
		s.mu.Lock()
		waits = s.waiting > 0
		s.mu.Unlock()
	}
	first()
	if err := <-got; err != nil {
		t.Errorf("a request that waits is not let in: %v", err)
	}
	second()
}

func TestOneThatIsLargerThanAllIsServedAlone(t *testing.T) {
	s := newShelf()
	_, done := s.use(t, lamps(1, 3*half), true)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.take(ctx, lamps(2, 1), true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("another is let in beside it: %v", err)
	}
	done()
	_, done = s.use(t, lamps(2, 1), true)
	done()
}

func TestADefinitionThatChanges(t *testing.T) {
	s := newShelf()
	d := lamps(1, 1)
	old, done := s.use(t, d, true)

	established := d.DeepCopy()
	established.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
	if h, done := s.use(t, established, true); h != old {
		t.Error("a definition whose status has changed has another handler")
	} else {
		done()
	}
	if err := s.definitions.Add(established); err != nil {
		t.Fatal(err)
	}
	if now, err := old.definition.Get(d.Name); err != nil || len(now.Status.Conditions) != 1 {
		t.Errorf("its handler sees %v, %v, not its status", now, err)
	}

	changed := lamps(1, 2)
	changed.Generation = 2
	if h, done := s.use(t, changed, true); h == old {
		t.Error("a definition that has changed has the same handler")
	} else {
		done()
	}
	if err := s.definitions.Update(changed); err != nil {
		t.Fatal(err)
	}
	if now, err := old.definition.Get(d.Name); err != nil || now.Generation != 1 {
		t.Errorf("who uses the old handler sees %v, %v, not the definition it is of", now, err)
	}
	done()
	s.forget(d.UID)
	if len(s.kept) != 0 || len(s.known) != 0 || s.used[true] != 0 {
		t.Errorf("after it is forgotten, %d handlers, %d definitions and %d bytes are known", len(s.kept), len(s.known), s.used[true])
	}
}

// TestRulesOfADefinitionThatEndsAreLetGoOf: those who use them keep them, and who reads keeps what there is for that.
func TestRulesOfADefinitionThatEndsAreLetGoOf(t *testing.T) {
	s := newShelf()
	server := &Server{keeper: s.keeper}
	d := lamps(0, half)
	_, done := s.use(t, d, true)
	_, read := s.use(t, d, false)
	server.changed(d, d)
	if s.kept[key{d.UID, true}] == nil {
		t.Error("the rules of a definition that stays are let go of")
	}
	ending := d.DeepCopy()
	ending.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	server.changed(d, ending)
	if s.kept[key{d.UID, true}] != nil || s.kept[key{d.UID, false}] == nil {
		t.Errorf("%d handlers are kept, want the one without rules", len(s.kept))
	}
	if s.keeper.used[true] == 0 {
		t.Error("rules that are in use do not count any more")
	}
	done()
	read()
	if used := s.keeper.used[true]; used != 0 {
		t.Errorf("%d bytes of rules count that nobody uses", used)
	}
}

func TestWithoutRules(t *testing.T) {
	rule := apiextensionsv1.ValidationRules{{Rule: "true", MessageExpression: "'no'"}}
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	d := lamps(1, 2)
	schema := d.Spec.Versions[0].Schema.OpenAPIV3Schema
	schema.Properties["list"] = apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{
		Schema: &apiextensionsv1.JSONSchemaProps{Type: "string", XValidations: rule},
	}}
	schema.Properties["map"] = apiextensionsv1.JSONSchemaProps{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{
		Allows: true, Schema: &apiextensionsv1.JSONSchemaProps{Type: "string", XValidations: rule},
	}}
	schema.Properties["all"] = apiextensionsv1.JSONSchemaProps{Type: "string", AllOf: []apiextensionsv1.JSONSchemaProps{{XValidations: rule}, {Pattern: "a"}}}
	schema.Properties["plain"] = text
	before := d.DeepCopy()
	if got, want := contentsOf(d), (contents{versions: 1, places: 11, environments: 4, programs: 8}); got != want {
		t.Errorf("it has %+v, want %+v", got, want)
	}
	got := withoutRules(d)
	if diff := cmp.Diff(before, d); diff != "" {
		t.Errorf("the definition was written to: %s", diff)
	}
	want := d.DeepCopy()
	schema = want.Spec.Versions[0].Schema.OpenAPIV3Schema
	spec, all := schema.Properties["spec"], schema.Properties["all"]
	spec.XValidations, all.AllOf[0].XValidations = nil, nil
	schema.Properties["spec"], schema.Properties["all"] = spec, all
	schema.Properties["list"].Items.Schema.XValidations = nil
	schema.Properties["map"].AdditionalProperties.Schema.XValidations = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("without rules: %s", diff)
	}
}
