// SPDX-License-Identifier: Apache-2.0

// Package flowcontrol sheds load fairly (API Priority and Fairness, KEP-1040): FlowSchemas sort requests into flows and levels, each level
// has its share of the requests that the server works on at once, and within a level every flow waits in queues of its own. What finds no
// place in a queue, or not in time, is answered 429 with Retry-After. The queues are the API machinery's; this package gives them their
// configuration (keep.go) and what they must know of the storage (counts.go).
//
// Cost: about 6 µs of CPU for a request that is exempt and 12 for one that is not, half of which is the hash of its flow and the garbage of
// its metrics (go test ./pkg/server -bench Request); two watches of the storage; one wake of a goroutine in ten seconds, and two a
// second for the gauges of requests in flight.
package flowcontrol

import (
	"context"
	"runtime"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"
	"k8s.io/apiserver/pkg/util/flowcontrol/metrics"
	"k8s.io/client-go/informers"
	client "k8s.io/client-go/kubernetes/typed/flowcontrol/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// How many requests the server works on at once, exempt ones and those that last apart: their sum is the seats that levels share. On a
// small machine more at once only means that each takes longer, and its memory with it: on two cores, 300 clients that all list 2 MB are
// answered 860 lists in 15 s with 150 seats and 370 with kube-apiserver's 600, and a request of the scheduler takes 0.5 s rather than 1.0
// meanwhile (95th percentile). From twelve cores on it is as many as with kube-apiserver.
const (
	maxSeats         = 400 + 200
	minSeats         = 100
	seatsByProcessor = 50
)

// seats is how many there are on a machine of so many processors.
func seats(processors int) int { return min(maxSeats, max(minSeats, seatsByProcessor*processors)) }

const (
	// keepWithin is how long a configuration that the server keeps may be other than it should: as with kube-apiserver, time enough to
	// change a FlowSchema first, and to say by its annotation that it shall stay so afterwards.
	keepWithin = time.Minute
	// retryAfter is how long after a failure it is tried again.
	retryAfter = time.Second
)

// Control decides which requests are worked on, which wait, and which are refused.
type Control struct {
	utilflowcontrol.Interface
	Counts *Counts

	levels  kind[*flowcontrolv1.PriorityLevelConfiguration]
	schemas kind[*flowcontrolv1.FlowSchema]
	// changed is told of every change of what is stored.
	changed chan struct{}
	within  time.Duration
}

// AskFor asks for the informers that New needs, so that they can have read the storage before.
func AskFor(informers informers.SharedInformerFactory) {
	informers.Flowcontrol().V1().PriorityLevelConfigurations().Informer()
	informers.Flowcontrol().V1().FlowSchemas().Informer()
}

// New returns the control that the stored configuration asks for. It writes through writer, and learns from stats how much a list will
// return. It has to be run, by the hook that the machinery has for it, or be ended.
func New(informers informers.SharedInformerFactory, writer client.FlowcontrolV1Interface, stats Stats) (*Control, error) {
	metrics.Register() // before the first gauge is asked for, which would be none
	all := informers.Flowcontrol().V1()
	c := &Control{
		Interface: utilflowcontrol.New(informers, writer, seats(runtime.GOMAXPROCS(0))),
		Counts:    newCounts(stats),
		levels: kind[*flowcontrolv1.PriorityLevelConfiguration]{
			lister: all.PriorityLevelConfigurations().Lister(), writer: writer.PriorityLevelConfigurations(),
			mandatory: bootstrap.MandatoryPriorityLevelConfigurations, suggested: bootstrap.SuggestedPriorityLevelConfigurations, revise: reviseLevel,
		},
		schemas: kind[*flowcontrolv1.FlowSchema]{
			lister: all.FlowSchemas().Lister(), writer: writer.FlowSchemas(),
			mandatory: bootstrap.MandatoryFlowSchemas, suggested: bootstrap.SuggestedFlowSchemas, revise: reviseSchema,
		},
		changed: make(chan struct{}, 1),
		within:  keepWithin,
	}
	for _, informer := range []cache.SharedIndexInformer{all.PriorityLevelConfigurations().Informer(), all.FlowSchemas().Informer()} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { c.noteChange() }, UpdateFunc: func(any, any) { c.noteChange() }, DeleteFunc: func(any) { c.noteChange() },
		}); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// End ends a control that will not run.
func (c *Control) End() {
	ended := make(chan struct{})
	close(ended)
	_ = c.Run(ended) // it says that it did not run
}

func (c *Control) noteChange() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Ensure makes the configuration that every server has. It returns when all is made, or ctx has ended. Informers must have read the storage.
func (c *Control) Ensure(ctx context.Context) error {
	for {
		err := c.ensure(ctx)
		if err == nil {
			return nil
		}
		klog.ErrorS(err, "Keep the configuration of API priority and fairness")
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Keep keeps that configuration until ctx ends. It does nothing while nobody changes it.
func (c *Control) Keep(ctx context.Context) {
	for {
		select {
		case <-c.changed:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(c.within):
		case <-ctx.Done():
			return
		}
		if err := c.ensure(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Keep the configuration of API priority and fairness; it is tried again")
			c.noteChange()
		}
	}
}

// ensure writes levels before the schemas that refer to them.
func (c *Control) ensure(ctx context.Context) error {
	if err := c.levels.ensure(ctx); err != nil {
		return err
	}
	return c.schemas.ensure(ctx)
}
