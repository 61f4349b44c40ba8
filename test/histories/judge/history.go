// SPDX-License-Identifier: Apache-2.0

// Package judge decides whether what clients saw of an API server could have come from one that loses nothing: single objects are linearizable,
// watches complete and in order, versions never go back. It knows only what was recorded, and nothing of Hivemind.
//
// Cost: memory grows with the number of requests and of distinct object versions; an event of a watch is two words. Judging an object takes about
// as long as sorting its requests, because the version in each answer leaves few orders to try.
package judge

import "fmt"

// Key names an object: its resource, as in the path of a URL, and its name. All are in one namespace.
type Key struct{ Resource, Name string }

func (k Key) String() string { return k.Resource + "/" + k.Name }

// Object is what clients look at in an object. Each change sets Spec or Note to a value that no other change sets.
type Object struct {
	Key
	UID        string
	Version    int64 // resourceVersion; 0 where it is not known
	Generation int64
	Spec       string // a change of it is a change of the object's spec
	Note       string // an annotation
	Deleting   bool   // it has a deletionTimestamp, and may be gone at any moment
}

func (o Object) String() string {
	text := fmt.Sprintf("%s at %d (uid %s, generation %d, spec %q, note %q", o.Key, o.Version, o.UID, o.Generation, o.Spec, o.Note)
	if o.Deleting {
		text += ", deleting"
	}
	return text + ")"
}

// Verb is what a request asks for.
type Verb string

// The verbs of requests for one object.
const (
	Create Verb = "create"
	Update Verb = "update" // with the resourceVersion that was read
	Patch  Verb = "patch"  // without
	Apply  Verb = "apply"  // server-side, forced
	Delete Verb = "delete"
	Get    Verb = "get"

	// gone is no request: an object that is being deleted has to be gone by now.
	gone Verb = "gone"
	// begin is none either: the object is as Got says, or not there where the outcome is NotFound.
	begin Verb = "begin"
)

// Outcome is what the answer says.
type Outcome string

// Outcomes. A request that certainly had no effect, as one that was not received, is no part of a history.
const (
	OK       Outcome = "ok"
	NotFound Outcome = "not found"
	Exists   Outcome = "exists"
	Conflict Outcome = "conflict"
	Unknown  Outcome = "unknown" // it has happened, or will until Return, or never
)

// Request is a request for one object and its answer. Times are nanoseconds since the run began.
type Request struct {
	Client int
	Key
	Verb         Verb
	Call, Return int64

	Value  string // what a write sets; a name of its own for a deletion
	OfNote bool   // it sets Note, not Spec
	Base   Object // what an update was made from
	// The preconditions of a deletion; "" and 0 for none.
	IfUID     string
	IfVersion int64
	// Graceful is of deletions that mark the object first, as those of pods do, and remove it in a second step.
	Graceful bool

	Outcome Outcome
	Settled bool   // of an unknown outcome: what has not happened by Return never will
	Got     Object // of a get, and of a write that returns the object
}

func (r Request) String() string {
	text := fmt.Sprintf("client %d %s %s", r.Client, r.Verb, r.Key)
	if r.Value != "" {
		text += fmt.Sprintf(" with %q", r.Value)
	}
	if r.Verb == Update {
		text += fmt.Sprintf(" at %d", r.Base.Version)
	}
	if r.IfUID != "" || r.IfVersion != 0 {
		text += fmt.Sprintf(" if uid %q, version %d", r.IfUID, r.IfVersion)
	}
	text += fmt.Sprintf(" [%.6f s, %.6f s]: %s", float64(r.Call)/1e9, float64(r.Return)/1e9, r.Outcome)
	if r.Got != (Object{}) {
		text += ", " + r.Got.String()
	}
	return text
}

// Match is how new a list has to be.
type Match string

// Matches, by resourceVersionMatch.
const (
	Consistent   Match = ""             // no resourceVersion: everything that was acknowledged before
	Any          Match = "any"          // resourceVersion=0
	NotOlderThan Match = "NotOlderThan" // than Asked
	Exact        Match = "Exact"        // at Asked
)

// List is a list of all objects of a resource: of one answer, or of several pages. Return is when the first page came: the others show the same version.
type List struct {
	Client       int
	Resource     string
	Match        Match
	Asked        int64
	Call, Return int64
	Version      int64
	Items        []*Object
}

func (l *List) String() string {
	return fmt.Sprintf("client %d list of %s [%.6f s, %.6f s] match %q of %d: %d items at %d", l.Client, l.Resource, float64(l.Call)/1e9, float64(l.Return)/1e9, l.Match,
		l.Asked, len(l.Items), l.Version)
}

// EventType is the type of a watch event.
type EventType byte

// Types of events.
const (
	Added EventType = iota
	Modified
	Deleted
	Bookmark
)

func (t EventType) String() string { return [...]string{"ADDED", "MODIFIED", "DELETED", "BOOKMARK"}[t] }

// Event is an event of a watch. Of a bookmark the object has a version alone.
type Event struct {
	Type   EventType
	Object *Object
}

// Watch is what one watcher saw from a version on: resumed as often as its connection broke, each time from the last version it had seen. A watcher
// that was told that this version has expired begins another.
type Watch struct {
	Client   int
	Resource string
	Name     string // the only object that is selected; "" for all
	From     int64  // events have later versions
	// State is what there was at From, where Listed says that it is known.
	Listed bool
	State  []*Object
	Events []Event
}

func (w *Watch) String() string {
	return fmt.Sprintf("watch of %s by client %d from %d", Key{w.Resource, w.Name}, w.Client, w.From)
}

// History is all that was seen.
type History struct {
	Requests []Request
	Lists    []*List
	Watches  []*Watch
	// HasGeneration has the resources whose objects count the changes of their spec.
	HasGeneration map[string]bool
}
