// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/test/parity/compare"
	"github.com/hivemind-project/hivemind/test/parity/corpus"
	"github.com/hivemind-project/hivemind/test/parity/exchange"
	"github.com/hivemind-project/hivemind/test/parity/play"
	"github.com/hivemind-project/hivemind/test/parity/report"
	"github.com/hivemind-project/hivemind/test/parity/schema"
	"github.com/hivemind-project/hivemind/test/stock"
)

const serviceCIDR = "10.96.0.0/16"

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	kinds := flag.String("kinds", "", "")
	n := flag.Int("n", 600, "")
	seed := flag.Uint64("seed", 1, "")
	flag.Parse()
	if err := run(ctx, *kinds, *n, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "parity:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, n int, seed uint64) (err error) {
	dir, err := os.MkdirTemp("", "hivemind-parity-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	began := time.Now()
	set := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(set)
	set.Set("logtostderr", "false")
	set.Set("log_file", filepath.Join(dir, "hivemind.log"))
	set.Set("stderrthreshold", "FATAL")
	bin := os.Getenv("STOCKBIN")
	cp, err := stock.Start(ctx, stock.Options{Dir: filepath.Join(dir, "stock"), BinDir: bin, ServiceCIDR: serviceCIDR})
	if err != nil {
		return err
	}
	defer cp.Stop(context.Background())
	kc, stop, err := startHivemind(ctx, dir, serviceCIDR)
	if err != nil {
		return err
	}
	defer stop()
	s, err := exchange.Dial("stock", cp.Kubeconfig())
	if err != nil {
		return err
	}
	h, err := exchange.Dial("Hivemind", kc)
	if err != nil {
		return err
	}
	c, err := corpus.Load()
	if err != nil {
		return err
	}
	filler, err := corpus.NewFiller()
	if err != nil {
		return err
	}
	schemas := schema.Schemas{}
	gvs, err := s.GroupVersions(ctx)
	if err != nil {
		return err
	}
	for _, gv := range gvs {
		if err := s.Schemas(ctx, gv, schemas); err != nil {
			return err
		}
	}
	asked, err := c.Text()
	if err != nil {
		return err
	}
	tally := report.NewTally()
	p := &play.Player{Pair: exchange.Pair{Stock: s, Hivemind: h}, World: compare.World{Began: began, ServiceCIDR: netip.MustParsePrefix(serviceCIDR), FirstNodePort: 30000, LastNodePort: 32767, Asked: asked},
		Corpus: c, Filler: filler, Schemas: schemas, Recorder: tally, Workers: 6, Seed: seed, Cases: n}
	sr, err := s.Resources(ctx)
	if err != nil {
		return err
	}
	hr, err := h.Resources(ctx)
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, r := range hr {
		has[play.KindName(r)] = true
	}
	if err := p.Bootstrapped(ctx); err != nil {
		return err
	}
	hgv, err := h.GroupVersions(ctx)
	if err != nil {
		return err
	}
	common := slices.DeleteFunc(slices.Clone(gvs), func(gv apischema.GroupVersion) bool { return !slices.Contains(hgv, gv) })
	if err := p.Documents(ctx, common); err != nil {
		return err
	}
	re := regexp.MustCompile(only)
	for _, r := range sr {
		if !has[play.KindName(r)] || !re.MatchString(play.KindName(r)) || r.Plural == "bindings" || r.Plural == "componentstatuses" {
			continue
		}
		t := time.Now()
		if err := p.Kind(ctx, r); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, play.KindName(r), time.Since(t))
	}
	data, err := json.MarshalIndent(tally.Report(), "", " ")
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(data)
	return err
}
