// SPDX-License-Identifier: Apache-2.0

// Package play brings the corpus, its mutations and the two servers together: kind by kind, it makes the requests, hands the answers to
// comparison, and records what comes of it.
//
// For a kind, in this order: creates as dry runs while nothing is stored; then its objects are stored, and every kind of write is tried on
// them as a dry run, so that each starts from the same object and all can run at once; then deletes as dry runs; then what needs a history
// (history.go): conflicts, shared fields, finalizers, graceful ends. A request costs some milliseconds on each server.
package play

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hivemind-project/hivemind/test/parity/compare"
	"github.com/hivemind-project/hivemind/test/parity/corpus"
	"github.com/hivemind-project/hivemind/test/parity/exchange"
	"github.com/hivemind-project/hivemind/test/parity/mutate"
	"github.com/hivemind-project/hivemind/test/parity/schema"
)

// Manager is the field manager of all writes that do not play another.
const Manager = "parity"

// Result is one request and what became of it.
type Result struct {
	Kind        string // group/version Kind
	Op          string
	ID          string // of the case, within the kind
	Request     exchange.Request
	Answers     exchange.Answers // normalised; none of documents
	Differences []compare.Difference
}

// Recorder gets every result, from several goroutines.
type Recorder interface {
	Record(Result)
	// Defect is told of an object of the corpus that stock refuses.
	Defect(kind, object, why string)
	// Blocked is told of cases that could not be compared because an object is not there on both.
	Blocked(kind, object, why string, cases int)
	// Unsent is told of fields of the corpus that stock has not.
	Unsent(kind string, fields []string)
}

// Player plays kinds.
type Player struct {
	Pair     exchange.Pair
	World    compare.World
	Corpus   *corpus.Corpus
	Filler   *corpus.Filler
	Schemas  schema.Schemas // of stock
	Recorder Recorder
	Workers  int    // requests at once on each server
	Seed     uint64 // of what is sampled
	Cases    int    // how many a kind has at most, besides what needs a history
}

// KindName is how tables call a kind: apps/v1 Deployment.
func KindName(r exchange.Resource) string { return r.GroupVersion().String() + " " + r.Kind }

// Namespace is where the objects of a kind are: every kind has its own, so that quotas and limits bind nobody else.
func Namespace(r exchange.Resource) string {
	group, _, _ := strings.Cut(r.Group, ".")
	if group == "" {
		group = "core"
	}
	return "parity-" + group + "-" + r.Version + "-" + r.Plural
}

// Shared are the kinds that both servers have, and the names of those that one alone has.
func (p *Player) Shared(ctx context.Context) (both []exchange.Resource, missing, extra []string, err error) {
	stock, err := p.Pair.Stock.Resources(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	hivemind, err := p.Pair.Hivemind.Resources(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	named := func(list []exchange.Resource) map[string]exchange.Resource {
		out := map[string]exchange.Resource{}
		for _, r := range list {
			out[KindName(r)] = r
		}
		return out
	}
	inStock, inHivemind := named(stock), named(hivemind)
	for _, r := range stock {
		if _, ok := inHivemind[KindName(r)]; ok {
			both = append(both, r)
		} else {
			missing = append(missing, KindName(r))
		}
	}
	for _, r := range hivemind {
		if _, ok := inStock[KindName(r)]; !ok {
			extra = append(extra, KindName(r))
		}
	}
	return both, missing, extra, nil
}

// kind is one that is played.
type kind struct {
	*Player
	exchange.Resource
	*corpus.Kind
	namespace string
	stored    map[string]stored
}

// stored is what each server has of an object.
type stored struct{ stock, hivemind map[string]any }

// Kind plays all cases of a kind.
func (p *Player) Kind(ctx context.Context, r exchange.Resource) error {
	k := &kind{Player: p, Resource: r, stored: map[string]stored{}}
	if r.Namespaced {
		k.namespace = Namespace(r)
		if err := p.makeNamespace(ctx, k.namespace); err != nil {
			return err
		}
	}
	if k.Kind = p.Corpus.Kind(r.GroupVersionKind, k.namespace); k.Kind == nil {
		return fmt.Errorf("%s: its Go type is not known", KindName(r))
	}
	k.prune()
	if err := k.creates(ctx); err != nil || !r.Stored() {
		return err
	}
	for _, step := range []func(context.Context) error{k.store, k.writes, k.statuses, k.deletes, k.machinery, k.subresources, k.history} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// makeNamespace makes a namespace with the account that pods run as, which no controller makes here.
func (p *Player) makeNamespace(ctx context.Context, name string) error {
	for _, r := range []exchange.Request{
		{Method: http.MethodPost, Path: "/api/v1/namespaces", ContentType: "application/json", Body: fmt.Appendf(nil, `{"metadata":{"name":%q}}`, name)},
		{Method: http.MethodPost, Path: "/api/v1/namespaces/" + name + "/serviceaccounts", ContentType: "application/json", Body: []byte(`{"metadata":{"name":"default"}}`)},
	} {
		answers, err := p.Pair.Same(ctx, r)
		if err != nil {
			return err
		}
		for _, a := range []exchange.Answer{answers.Stock, answers.Hivemind} {
			if a.Code != http.StatusCreated && a.Code != http.StatusConflict {
				return fmt.Errorf("prepare namespace %s: %d %v: the servers must be empty and let an administrator write", name, a.Code, a.Body["message"])
			}
		}
	}
	return nil
}

// prune takes from the corpus what stock has no field for.
func (k *kind) prune() {
	gone := map[string]bool{}
	for _, o := range k.Objects {
		for _, field := range k.Schemas.Prune(k.Resource.GroupVersionKind, o.Content) {
			gone[field] = true
		}
	}
	if k.Status != nil {
		fields, _ := k.Schemas.PruneAt(k.Resource.GroupVersionKind, []any{"status"}, k.Status)
		for _, field := range fields {
			gone[field] = true
		}
	}
	if len(gone) > 0 {
		k.Recorder.Unsent(KindName(k.Resource), slices.Sorted(maps.Keys(gone)))
	}
}

// source is what mutations are made from.
func (k *kind) source() mutate.Source {
	gvk := k.Resource.GroupVersionKind
	return mutate.Source{
		Kind: k.Kind,
		Enum: func(p mutate.Path) []string { return k.Schemas.Enum(gvk, p.Steps()) },
		Make: func(p mutate.Path, t reflect.Type, f corpus.Field) any {
			value := k.Filler.Value(t, f)
			if _, ok := k.Schemas.PruneAt(gvk, p.Steps(), value); !ok {
				return nil
			}
			return value
		},
	}
}

// share is a part of the cases that a kind may have.
func (k *kind) share(part float64) int {
	if k.Cases == 0 {
		return 0 // all
	}
	return max(1, int(float64(k.Cases)*part))
}

func (k *kind) creates(ctx context.Context) error {
	return k.play(ctx, mutate.Sample(k.source().Creates(), k.share(0.35), k.Seed))
}

// store stores the objects, on which writes are tried.
func (k *kind) store(ctx context.Context) error {
	for _, o := range k.Objects {
		r := k.request(http.MethodPost, "", "application/json", o.Content)
		answers, err := k.record(ctx, "create", o.Name+": stored", r, r)
		if err != nil {
			return err
		}
		if !answers.Stock.OK() {
			k.Recorder.Defect(KindName(k.Resource), o.Name, fmt.Sprint(answers.Stock.Body["message"]))
		}
		if !answers.Stock.OK() || !answers.Hivemind.OK() {
			continue
		}
		if err := k.settle(ctx, o.Name, steadyNew); err != nil {
			return err
		}
		if err := k.refresh(ctx, o.Name); err != nil {
			return err
		}
	}
	return nil
}

// reconciled are the kinds that an API server itself has controllers for: what they write comes soon after each request.
var reconciled = []string{"CustomResourceDefinition", "APIService", "FlowSchema"}

// Looks in a row that see the same before an object is taken to stay so; more where it is new, as the controllers hear of it only then.
const (
	steady    = 4
	steadyNew = 20
)

// settle waits until neither server changes an object any more: until it has been the same for a while.
func (k *kind) settle(ctx context.Context, object string, steady int) error {
	if !slices.Contains(reconciled, k.Resource.Kind) {
		return nil
	}
	const limit = 200 // looks at all
	last, same := "", 0
	for range limit {
		answers, err := k.Pair.Same(ctx, k.request(http.MethodGet, k.name(object), "", nil))
		if err != nil {
			return err
		}
		now := version(answers.Stock) + " " + version(answers.Hivemind)
		if same++; now != last {
			last, same = now, 0
		}
		if same == steady {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s %s keeps changing by itself", KindName(k.Resource), k.name(object))
}

// version is the object's, or why there is none.
func version(a exchange.Answer) string {
	meta, _ := a.Body["metadata"].(map[string]any)
	return fmt.Sprint(a.Code, meta["resourceVersion"])
}

// refresh reads what both servers have of an object.
func (k *kind) refresh(ctx context.Context, object string) error {
	if err := k.settle(ctx, object, steady); err != nil {
		return err
	}
	r := k.request(http.MethodGet, k.name(object), "", nil)
	answers, err := k.Pair.Same(ctx, r)
	if err != nil {
		return err
	}
	if !answers.Stock.OK() || !answers.Hivemind.OK() {
		delete(k.stored, object)
		return nil
	}
	k.stored[object] = stored{answers.Stock.Body, answers.Hivemind.Body}
	return nil
}

// name is that of an object of the corpus.
func (k *kind) name(object string) string {
	meta, _ := k.Object(object)["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	return name
}

func (k *kind) writes(ctx context.Context) error {
	if !k.Has("update") || !k.Has("patch") {
		return nil
	}
	return k.play(ctx, mutate.Sample(k.source().Writes(mutate.WriteOps), k.share(0.45), k.Seed))
}

// statuses stores the full object's status, and tries changes of it.
func (k *kind) statuses(ctx context.Context) error {
	if !k.HasStatus() || k.Status == nil {
		return nil
	}
	object := k.Object(corpus.Full)
	object["status"] = k.Status
	if live, ok := k.stored[corpus.Full]; ok {
		with := func(tree map[string]any) exchange.Request {
			tree = maps.Clone(tree)
			tree["status"] = k.Status
			return k.request(http.MethodPut, k.name(corpus.Full)+"/status", "application/json", tree)
		}
		answers, err := k.record(ctx, "status update", "full: stored", with(live.stock), with(live.hivemind))
		if err != nil {
			return err
		}
		if !answers.Stock.OK() {
			k.Recorder.Defect(KindName(k.Resource), "status of full", fmt.Sprint(answers.Stock.Body["message"]))
		}
		if err := k.refresh(ctx, corpus.Full); err != nil {
			return err
		}
	}
	return k.play(ctx, mutate.Sample(k.source().StatusWrites(mutate.StatusOps), k.share(0.2), k.Seed))
}

// play sends cases, several at once.
func (k *kind) play(ctx context.Context, cases []mutate.Case) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(k.Workers)
	blocked, halves := map[string]int{}, map[string]int{}
	var lock sync.Mutex
	for _, c := range cases {
		live, ok := k.stored[c.Object]
		if c.Op != mutate.Create && !ok {
			blocked[c.Object]++
			continue
		}
		group.Go(func() error {
			played, err := k.one(ctx, c, live)
			if err == nil && !played {
				lock.Lock()
				defer lock.Unlock()
				halves[c.Object]++
			}
			return err
		})
	}
	err := group.Wait()
	for _, object := range slices.Sorted(maps.Keys(blocked)) {
		k.Recorder.Blocked(KindName(k.Resource), object, "is not stored on both servers", blocked[object])
	}
	for _, object := range slices.Sorted(maps.Keys(halves)) {
		k.Recorder.Blocked(KindName(k.Resource), object, "has fields on one server that it has not on the other", halves[object])
	}
	return err
}

// one sends a case; false where what one server has stored has no place for its edit, and the other's has.
func (k *kind) one(ctx context.Context, c mutate.Case, live stored) (bool, error) {
	compose := func(live map[string]any) (exchange.Request, bool, error) {
		m, ok, err := c.Message(k.Kind, k.Object(c.Object), live)
		if err != nil || !ok {
			return exchange.Request{}, false, err
		}
		r := k.request(m.Method, "", m.ContentType, nil)
		r.Body = m.Body
		if c.Op != mutate.Create {
			r.Path += "/" + k.name(c.Object)
		}
		if strings.HasPrefix(string(c.Op), "status ") {
			r.Path += "/status"
		}
		r.Query.Set("dryRun", "All")
		switch c.Op {
		case mutate.Apply, mutate.StatusApply:
			r.Query.Set("fieldManager", "applier")
		case mutate.ApplyForced:
			r.Query.Set("fieldManager", "applier")
			r.Query.Set("force", "true")
		}
		if c.FieldValidation != "" {
			r.Query.Set("fieldValidation", c.FieldValidation)
		}
		return r, true, nil
	}
	stock, ok1, err1 := compose(live.stock)
	hivemind, ok2, err2 := compose(live.hivemind)
	if err := firstError(err1, err2); err != nil {
		return false, fmt.Errorf("%s %s: %w", KindName(k.Resource), c.ID(), err)
	}
	if !ok1 || !ok2 {
		return ok1 == ok2, nil // a place that neither has is no case
	}
	_, err := k.record(ctx, string(c.Op), c.ID(), stock, hivemind)
	return true, err
}

// request makes one for the kind; name may have a subresource behind a slash.
func (k *kind) request(method, name, contentType string, body map[string]any) exchange.Request {
	r := exchange.Request{Method: method, Path: k.Path(k.namespace), ContentType: contentType, Query: url.Values{}}
	if name != "" {
		r.Path += "/" + name
	}
	if method != http.MethodGet && method != http.MethodDelete {
		r.Query.Set("fieldManager", Manager)
	}
	if body != nil {
		r.Body = encode(body)
	}
	return r
}

// record sends the requests, compares, and hands on the result. The answers it returns are those that were compared.
func (k *kind) record(ctx context.Context, op, id string, stock, hivemind exchange.Request) (exchange.Answers, error) {
	answers, err := k.Pair.Do(ctx, stock, hivemind)
	if err != nil {
		return answers, err
	}
	k.World.Normalise(&answers.Stock)
	k.World.Normalise(&answers.Hivemind)
	differences := compare.Answers(answers)
	for i, d := range differences {
		if op == "table" {
			break // whose columns are not the kind's fields
		}
		path := strings.TrimPrefix(strings.TrimPrefix(d.Path, "items[0]"), ".")
		differences[i].Unknown = path != "" && !k.Schemas.Has(k.Resource.GroupVersionKind, path)
	}
	k.Recorder.Record(Result{KindName(k.Resource), op, id, stock, answers, differences})
	return answers, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
