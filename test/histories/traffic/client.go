// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hivemind-project/hivemind/test/histories/judge"
)

// client sends one request after the other, of its own choice.
type client struct {
	*connection
	id     int
	record *Record
	random *rand.Rand
	names  []string
	serial int
	// acknowledged is the version of the last write that returned the object.
	acknowledged int64
}

// awayFor is how long a client waits where nothing listens.
const awayFor = 20 * time.Millisecond

// run sends requests until stop is closed.
func (c *client) run(ctx context.Context, stop <-chan struct{}) {
	defer c.close()
	for {
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		default:
		}
		k := &kinds[c.random.IntN(len(kinds))]
		call := c.record.now()
		err := c.act(ctx, k, c.names[c.random.IntN(len(c.names))])
		switch {
		case errors.Is(err, errAway):
			idle(stop, awayFor)
		case err == nil:
			c.record.took(call)
		}
	}
}

// idle waits, but not longer than until stop is closed.
func idle(stop <-chan struct{}, d time.Duration) {
	select {
	case <-stop:
	case <-time.After(d):
	}
}

// act does one of the things that clients do; how often each is done is in the numbers.
func (c *client) act(ctx context.Context, k *kind, name string) error {
	switch n := c.random.IntN(100); {
	case n < 16:
		return c.create(ctx, k, name)
	case n < 34:
		return c.update(ctx, k, name)
	case n < 50:
		return c.patch(ctx, k, name)
	case n < 62:
		return c.apply(ctx, k, name)
	case n < 72:
		return c.delete(ctx, k, name)
	case n < 90:
		_, _, err := c.get(ctx, k, name)
		return err
	default:
		return c.list(ctx, k)
	}
}

// value is one that nobody has used.
func (c *client) value() string {
	c.serial++
	return fmt.Sprintf("c%d-%d", c.id, c.serial)
}

func (c *client) create(ctx context.Context, k *kind, name string) error {
	q := c.request(k, name, judge.Create)
	q.Value = c.value()
	return c.send(ctx, k, q, http.MethodPost, k.path(""), nil, "application/json", k.manifest(name, q.Value))
}

// update reads an object and writes it back, changed and with the version that was read.
func (c *client) update(ctx context.Context, k *kind, name string) error {
	object, base, err := c.get(ctx, k, name)
	if object == nil {
		return err
	}
	if c.random.IntN(4) == 0 { // time in which another may be faster
		time.Sleep(time.Duration(c.random.IntN(5)) * time.Millisecond)
	}
	q := c.request(k, name, judge.Update)
	q.Base, q.Value, q.OfNote = base, c.value(), c.random.IntN(3) == 0
	if q.OfNote {
		metadata, _ := object["metadata"].(map[string]any)
		annotations, _ := metadata["annotations"].(map[string]any)
		if annotations == nil {
			annotations = map[string]any{}
		}
		annotations[noteKey] = q.Value
		metadata["annotations"] = annotations
	} else if err := k.set(object, q.Value); err != nil {
		return err
	}
	return c.send(ctx, k, q, http.MethodPut, k.path(name), nil, "application/json", object)
}

// patch sends a merge patch of the spec or of the note.
func (c *client) patch(ctx context.Context, k *kind, name string) error {
	q := c.request(k, name, judge.Patch)
	q.Value, q.OfNote = c.value(), c.random.IntN(2) == 0
	body, contentType := k.body(q.Value), "application/merge-patch+json"
	if spec, ok := body["spec"].(map[string]any); ok {
		delete(spec, "schedulerName") // which cannot change, and does not
	}
	if q.OfNote {
		body = map[string]any{"metadata": map[string]any{"annotations": map[string]any{noteKey: q.Value}}}
	} else if k.kind == "Pod" {
		contentType = "application/strategic-merge-patch+json"
	}
	return c.send(ctx, k, q, http.MethodPatch, k.path(name), nil, contentType, body)
}

func (c *client) apply(ctx context.Context, k *kind, name string) error {
	q := c.request(k, name, judge.Apply)
	q.Value = c.value()
	query := url.Values{"fieldManager": {manager}, "force": {"true"}}
	return c.send(ctx, k, q, http.MethodPatch, k.path(name), query, "application/apply-patch+yaml", k.manifest(name, q.Value))
}

// delete deletes an object: half of the time only if it is the one, or in the version, that was read before.
func (c *client) delete(ctx context.Context, k *kind, name string) error {
	q := c.request(k, name, judge.Delete)
	q.Value, q.Graceful = c.value(), k.graceful
	options := &metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}}
	if n := c.random.IntN(4); n < 2 {
		object, base, err := c.get(ctx, k, name)
		if object == nil {
			return err
		}
		options.Preconditions = &metav1.Preconditions{}
		if n == 0 {
			metadata, _ := object["metadata"].(map[string]any)
			version, _ := metadata["resourceVersion"].(string)
			q.IfVersion, options.Preconditions.ResourceVersion = base.Version, &version
		} else {
			uid := types.UID(base.UID)
			q.IfUID, options.Preconditions.UID = base.UID, &uid
		}
		q.Call = c.record.now()
	}
	return c.send(ctx, k, q, http.MethodDelete, k.path(name), nil, "application/json", options)
}

// get reads an object, to be written back too; it is nil where there is none.
func (c *client) get(ctx context.Context, k *kind, name string) (map[string]any, judge.Object, error) {
	q := c.request(k, name, judge.Get)
	var raw both
	err := c.do(ctx, http.MethodGet, k.path(name), nil, "", nil, &raw)
	if err = c.answered(k, q, &raw.wire, err); err != nil || raw.object == nil {
		return nil, judge.Object{}, err
	}
	base, err := raw.wire.object(k)
	return raw.object, base, err
}

func (c *client) request(k *kind, name string, verb judge.Verb) judge.Request {
	return judge.Request{Client: c.id, Key: judge.Key{Resource: k.resource, Name: name}, Verb: verb, Call: c.record.now()}
}

// send sends a write and records what becomes of it.
func (c *client) send(ctx context.Context, k *kind, q judge.Request, method, path string, query url.Values, contentType string, body any) error {
	q.Call = c.record.now()
	var out wire
	var into any = &out
	if q.Verb == judge.Delete {
		into = nil // it returns the object or a Status
	}
	return c.answered(k, q, &out, c.do(ctx, method, path, query, contentType, body, into))
}

// answered records a request with its answer. Only that the server is away is an error, and what must not be.
func (c *client) answered(k *kind, q judge.Request, out *wire, err error) error {
	q.Return = c.record.now()
	var status *statusError
	switch {
	case errors.Is(err, errAway):
		return err
	case errors.As(err, new(broken)):
		q.Outcome = judge.Unknown
	case errors.As(err, &status):
		outcome, known := outcomeOf(status)
		if !known {
			c.record.unexpected(fmt.Errorf("%s: %w", q, status))
			return nil
		}
		if outcome == "" || outcome == judge.Unknown {
			c.record.refused(status.Error())
		}
		q.Outcome = outcome
		// etcd says this also of the write that reaches the quota, which it has carried out.
		q.Settled = strings.Contains(status.Message, "space")
	case err != nil:
		c.record.unexpected(fmt.Errorf("%s: %w", q, err))
		return nil
	default:
		q.Outcome = judge.OK
		if q.Verb != judge.Delete {
			if q.Got, err = out.object(k); err != nil {
				c.record.unexpected(fmt.Errorf("%s: %w", q, err))
				return nil
			}
			if q.Verb != judge.Get {
				c.acknowledged = q.Got.Version
			}
		}
	}
	if q.Outcome == "" || (q.Verb == judge.Get && q.Outcome == judge.Unknown) {
		return nil // it had no effect and tells nothing
	}
	c.record.request(q)
	return nil
}

// outcomeOf says what an answer that is no success means for a history: "" where the request had no effect. It is not known where no request here
// should get it.
func outcomeOf(s *statusError) (outcome judge.Outcome, known bool) {
	switch s.Reason {
	case metav1.StatusReasonNotFound:
		if s.Details == nil || s.Details.Name == "" {
			return "", true // the resource is not served yet
		}
		return judge.NotFound, true
	case metav1.StatusReasonAlreadyExists:
		return judge.Exists, true
	case metav1.StatusReasonConflict:
		return judge.Conflict, true
	case metav1.StatusReasonTooManyRequests:
		return "", true
	}
	return judge.Unknown, s.Code >= 500
}
