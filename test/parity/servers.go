// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/test/parity/compare"
	"github.com/hivemind-project/hivemind/test/parity/corpus"
	"github.com/hivemind-project/hivemind/test/parity/exchange"
	"github.com/hivemind-project/hivemind/test/parity/play"
	"github.com/hivemind-project/hivemind/test/parity/report"
	parityschema "github.com/hivemind-project/hivemind/test/parity/schema"
	"github.com/hivemind-project/hivemind/test/stock"
)

// unplayed are kinds that are no objects of their own: they are played as subresources, or say what no other server says.
var unplayed = []string{"bindings", "componentstatuses"}

// compareServers starts what is not running yet, plays everything, and stops it again.
func compareServers(ctx context.Context, o options, tell io.Writer) (_ *report.Report, err error) {
	dir, err := os.MkdirTemp("", "hivemind-parity-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	endLog, err := logTo(filepath.Join(dir, "hivemind.log"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, endLog()) }()
	began := time.Now()
	if o.stock == "" {
		bin, err := stock.Build(ctx, tell, "kube-apiserver", "etcd")
		if err != nil {
			return nil, err
		}
		fmt.Fprintln(tell, "start stock kube-apiserver and etcd")
		server, err := stock.Start(ctx, stock.Options{Dir: filepath.Join(dir, "stock"), BinDir: bin, ServiceCIDR: o.serviceCIDR})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, stop(ctx, server.Stop)) }()
		o.stock = server.Kubeconfig()
	}
	if o.hivemind == "" {
		fmt.Fprintln(tell, "start Hivemind's API server")
		group, kubeconfig, err := startHivemind(ctx, dir, o.serviceCIDR)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, stop(ctx, group.Stop)) }()
		o.hivemind = kubeconfig
	}
	return playAll(ctx, o, began, tell)
}

// stop gives f its time even where ctx has ended.
func stop(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return f(ctx)
}

// logTo keeps what Hivemind logs out of what is printed, until done is called.
func logTo(file string) (done func() error, err error) {
	set := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(set)
	for name, value := range map[string]string{"logtostderr": "false", "stderrthreshold": "FATAL"} {
		if err := set.Set(name, value); err != nil {
			return nil, fmt.Errorf("set up log: %w", err)
		}
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("set up log: %w", err)
	}
	klog.SetOutput(f)
	return func() error {
		klog.Flush()
		klog.SetOutput(io.Discard)
		return f.Close()
	}, nil
}

// playAll plays documents, bootstrap objects and kinds on two running servers.
func playAll(ctx context.Context, o options, began time.Time, tell io.Writer) (*report.Report, error) {
	p, err := player(ctx, o, began)
	if err != nil {
		return nil, err
	}
	tally := report.NewTally()
	p.Recorder = tally
	both, missing, extra, err := p.Shared(ctx)
	if err != nil {
		return nil, err
	}
	if o.kinds.String() == "" {
		var versions []schema.GroupVersion
		for _, r := range both {
			if !slices.Contains(versions, r.GroupVersion()) {
				versions = append(versions, r.GroupVersion())
			}
		}
		if err := p.Bootstrapped(ctx); err != nil {
			return nil, err
		}
		if err := p.Documents(ctx, versions); err != nil {
			return nil, err
		}
	}
	if err := p.Align(ctx); err != nil {
		return nil, err
	}
	both = slices.DeleteFunc(both, func(r exchange.Resource) bool {
		return slices.Contains(unplayed, r.Plural) || !o.kinds.MatchString(play.KindName(r))
	})
	if len(both) == 0 {
		return nil, fmt.Errorf("-kinds %s matches no kind that both servers have: it is matched with names such as \"apps/v1 Deployment\": %w", o.kinds, errUsage)
	}
	for i, r := range both {
		begin := time.Now()
		fmt.Fprintf(tell, "%d/%d %s ... ", i+1, len(both), play.KindName(r))
		if err := p.Kind(ctx, r); err != nil {
			fmt.Fprintln(tell)
			return nil, err
		}
		fmt.Fprintf(tell, "%.1f s\n", time.Since(begin).Seconds())
	}
	out := tally.Report()
	out.Seed, out.PerKind, out.Missing, out.Extra = o.seed, o.cases, missing, extra
	out.Complete = o.complete()
	out.Duration = time.Since(began).Round(time.Second)
	for _, r := range both {
		if !p.Corpus.Has(r.GroupVersionKind) {
			out.Unwritten = append(out.Unwritten, play.KindName(r))
		}
	}
	if out.Stock, err = p.Pair.Stock.Version(ctx); err != nil {
		return nil, err
	}
	if out.Hivemind, err = p.Pair.Hivemind.Version(ctx); err != nil {
		return nil, err
	}
	return out, nil
}

// player reads what playing needs.
func player(ctx context.Context, o options, began time.Time) (*play.Player, error) {
	services, err := netip.ParsePrefix(o.serviceCIDR)
	if err != nil {
		return nil, fmt.Errorf("-service-cidr: %w: %w", err, errUsage)
	}
	p := &play.Player{Workers: o.workers, Seed: o.seed, Cases: o.cases, Schemas: parityschema.Schemas{}}
	if p.Pair.Stock, err = exchange.Dial("stock", o.stock); err != nil {
		return nil, err
	}
	if p.Pair.Hivemind, err = exchange.Dial("Hivemind", o.hivemind); err != nil {
		return nil, err
	}
	if p.Corpus, err = corpus.Load(); err != nil {
		return nil, err
	}
	if p.Filler, err = corpus.NewFiller(); err != nil {
		return nil, err
	}
	asked, err := p.Corpus.Text()
	if err != nil {
		return nil, err
	}
	p.World = compare.World{Began: began, ServiceCIDR: services, FirstNodePort: 30000, LastNodePort: 32767, Asked: asked,
		Servers: []string{"kube-apiserver", "hivemindd"}}
	versions, err := p.Pair.Stock.GroupVersions(ctx)
	if err != nil {
		return nil, err
	}
	for _, gv := range versions {
		if err := p.Pair.Stock.Schemas(ctx, gv, p.Schemas); err != nil {
			return nil, err
		}
	}
	return p, nil
}
