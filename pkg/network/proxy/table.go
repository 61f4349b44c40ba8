// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

// table writes objects to the kernel. Each write is one transaction, so a packet meets the rules of before or of after.
// A change costs as much as the objects it is about; a reset as much as all services.
type table struct {
	conn     *nftables.Conn
	table    *nftables.Table
	services netip.Prefix
	own      []netip.Addr
	others   func(*nftables.Conn) error
	shared   map[string]*nftables.Set
}

func openTable(o Options) (*table, error) {
	c, err := nft.Open()
	if err != nil {
		return nil, err
	}
	t := &table{conn: c, table: nft.Table(o.Table), services: o.ServiceCIDR, own: o.Own, others: o.Others}
	addressType, err1 := nftables.ConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)
	nodePortType, err2 := nftables.ConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)
	target, err3 := nftables.ConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, errors.Join(err, c.CloseLasting())
	}
	// Eight arbitrary bytes and a number: of the types of four bytes, mark is the one that nft(8) can print in a key.
	endpointType, err := nftables.ConcatSetType(nftables.TypeMark, nftables.TypeMark, nftables.TypeMark)
	if err != nil {
		return nil, errors.Join(err, c.CloseLasting())
	}
	t.shared = map[string]*nftables.Set{
		addressMap:   {Table: t.table, Name: addressMap, IsMap: true, KeyType: addressType, DataType: nftables.TypeVerdict},
		nodePortMap:  {Table: t.table, Name: nodePortMap, IsMap: true, KeyType: nodePortType, DataType: nftables.TypeVerdict},
		endpointMap:  {Table: t.table, Name: endpointMap, IsMap: true, KeyType: endpointType, DataType: target},
		stickyMap:    {Table: t.table, Name: stickyMap, IsMap: true, KeyType: endpointType, DataType: nftables.TypeVerdict},
		clusterIPSet: {Table: t.table, Name: clusterIPSet, KeyType: nftables.TypeIPAddr},
	}
	return t, nil
}

func (t *table) close() error { return t.conn.CloseLasting() }

// exists tells whether the table still has our rules: `nft flush ruleset`, which some firewalls run, removes all.
func (t *table) exists() bool {
	_, err := t.conn.ListChain(t.table, dispatchChain)
	return err == nil
}

// reset makes the table hold these objects and nothing else of the proxy's, whatever it held. A table that is there is
// refilled, which keeps what affinity remembers for chains that stay. One that is of another make, or that does not take
// the objects because somebody else changed it, is replaced whole.
func (t *table) reset(ctx context.Context, all []objects) error {
	now := join(all)
	if t.exists() {
		err := t.refill(now)
		if err == nil {
			return nil
		}
		klog.FromContext(ctx).Info("Replacing the nftables table", "table", t.table.Name, "reason", err.Error())
		// What was queued or not yet answered goes with the connection.
		if err := t.reopen(); err != nil {
			return err
		}
	}
	nft.BeginAnew(t.conn, t.table.Name)
	if err := t.others(t.conn); err != nil {
		return errors.Join(err, t.reopen())
	}
	t.layBase()
	if err := t.write(objects{}, now, nil); err != nil {
		return errors.Join(err, t.reopen())
	}
	return t.flush()
}

// refill adds what a table of this program lacks, and empties and fills the rest.
func (t *table) refill(now objects) error {
	if _, err := nft.Begin(t.conn, t.table.Name); err != nil {
		return err
	}
	chains, err := t.conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	var old objects
	for _, c := range chains {
		if c.Table.Name == t.table.Name && strings.HasPrefix(c.Name, servicePrefix) {
			old.chains = append(old.chains, chain{name: c.Name})
		}
	}
	var oldSets []string
	if len(chains) > 0 {
		sets, err := t.conn.GetSets(t.table)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("list sets: %w", err)
		}
		for _, s := range sets {
			if strings.HasPrefix(s.Name, servicePrefix) {
				oldSets = append(oldSets, s.Name)
			}
		}
	}
	t.layBase()
	if err := t.write(old, now, oldSets); err != nil {
		return err
	}
	return t.flush()
}

// replace puts new objects in the place of old ones.
func (t *table) replace(old, now objects) error {
	if err := t.write(old, now, setsOf(old)); err != nil {
		return err
	}
	return t.flush()
}

// reopen puts a fresh connection in the place of one that failed.
func (t *table) reopen() error {
	c, err := nft.Open()
	if err != nil {
		return err
	}
	err = t.conn.CloseLasting()
	t.conn = c
	return err
}

func (t *table) flush() error {
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("write nftables table %s: %w", t.table.Name, err)
	}
	return nil
}

// layBase queues what all services share, emptied and refilled.
func (t *table) layBase() {
	c := t.conn
	for _, s := range t.shared {
		_ = c.AddSet(s, nil) // fails for anonymous sets alone
		c.FlushSet(s)
	}
	plain := func(name string) *nftables.Chain {
		ch := c.AddChain(&nftables.Chain{Name: name, Table: t.table})
		c.FlushChain(ch)
		return ch
	}
	add := func(ch *nftables.Chain, parts ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: t.table, Chain: ch, Exprs: nft.Rule(parts...)})
	}
	add(plain(rejectChain), nft.Reject())
	add(plain(dropChain), nft.Drop())

	dispatch := plain(dispatchChain)
	for _, a := range t.own {
		add(dispatch, nft.To(netip.PrefixFrom(a, 32)), nft.Return())
	}
	add(dispatch, nft.Daddr(nft.Reg(0)), nft.L4Proto(nft.Reg(1)), nft.Dport(nft.Reg(2)), nft.Vmap(nft.Reg(0), t.shared[addressMap]))
	add(dispatch, nft.ToLocal(), nft.L4Proto(nft.Reg(0)), nft.Dport(nft.Reg(1)), nft.Vmap(nft.Reg(0), t.shared[nodePortMap]))
	// Ports that a service does not have are refused. An address that no service has may be one that this node
	// has not heard of yet: dropped packets are sent again.
	add(dispatch, nft.Daddr(nft.Reg(0)), nft.In(nft.Reg(0), t.shared[clusterIPSet]), nft.Reject())
	add(dispatch, nft.To(t.services), nft.Drop())

	for _, b := range []struct {
		name string
		hook *nftables.ChainHook
	}{{"proxy-prerouting", nftables.ChainHookPrerouting}, {"proxy-output", nftables.ChainHookOutput}} {
		base := c.AddChain(&nftables.Chain{Name: b.name, Table: t.table, Type: nftables.ChainTypeNAT, Hooknum: b.hook, Priority: nftables.ChainPriorityNATDest})
		c.FlushChain(base)
		add(base, nft.Jump(dispatchChain))
	}
	post := c.AddChain(&nftables.Chain{Name: "proxy-postrouting", Table: t.table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	c.FlushChain(post)
	add(post, nft.Marked(masqueradeBit), nft.Unmark(masqueradeBit), nft.Masquerade())
}

// write queues the change from old to now. The order matters within a transaction: what refers goes before what is
// referred to when it is removed, and after it when it is added.
func (t *table) write(old, now objects, oldSets []string) error {
	c := t.conn
	keepChain, keepSet := map[string]bool{}, map[string]bool{}
	for _, ch := range now.chains {
		keepChain[ch.name] = true
	}
	for _, ch := range old.chains {
		c.FlushChain(&nftables.Chain{Name: ch.name, Table: t.table})
	}
	for _, ch := range now.chains {
		c.AddChain(&nftables.Chain{Name: ch.name, Table: t.table})
	}
	for _, name := range setsOf(now) {
		keepSet[name] = true
	}
	for _, name := range oldSets {
		if !keepSet[name] {
			c.DelSet(&nftables.Set{Name: name, Table: t.table})
		}
	}
	for _, ch := range now.chains {
		if err := t.fill(ch); err != nil {
			return err
		}
	}
	gone, added := diff(old.elements, now.elements)
	for set, elements := range t.bySet(gone) {
		if err := nft.DeleteElements(c, set, elements); err != nil {
			return err
		}
	}
	for set, elements := range t.bySet(added) {
		if err := nft.AddElements(c, set, elements); err != nil {
			return err
		}
	}
	for _, ch := range old.chains {
		if !keepChain[ch.name] {
			c.DelChain(&nftables.Chain{Name: ch.name, Table: t.table})
		}
	}
	return nil
}

// fill queues a chain's set and rules.
func (t *table) fill(ch chain) error {
	if ch.clients != "" {
		set := &nftables.Set{Table: t.table, Name: ch.clients, KeyType: nftables.TypeIPAddr, Dynamic: true, HasTimeout: true, Timeout: ch.timeout}
		if err := t.conn.AddSet(set, nil); err != nil {
			return err
		}
	}
	for _, r := range ch.rules {
		t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: &nftables.Chain{Name: ch.name}, Exprs: r})
	}
	return nil
}

// bySet turns elements of shared sets into nftables'.
func (t *table) bySet(elements []element) map[*nftables.Set][]nftables.SetElement {
	sorted := map[*nftables.Set][]nftables.SetElement{}
	for _, e := range elements {
		set := t.shared[e.set]
		se := nftables.SetElement{Key: []byte(e.key), Val: []byte(e.value)}
		if e.to != "" {
			se.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.to}
		}
		sorted[set] = append(sorted[set], se)
	}
	return sorted
}

func join(all []objects) (joined objects) {
	for _, o := range all {
		joined.chains = append(joined.chains, o.chains...)
		joined.elements = append(joined.elements, o.elements...)
	}
	return joined
}

// setsOf names the sets of the chains.
func setsOf(o objects) []string {
	var names []string
	for _, ch := range o.chains {
		if ch.clients != "" {
			names = append(names, ch.clients)
		}
	}
	return names
}

// diff returns the elements of old that now lacks, and those of now that old lacks.
func diff(old, now []element) (gone, added []element) {
	had := make(map[element]bool, len(old))
	for _, e := range old {
		had[e] = true
	}
	has := make(map[element]bool, len(now))
	for _, e := range now {
		has[e] = true
		if !had[e] {
			added = append(added, e)
		}
	}
	for _, e := range old {
		if !has[e] {
			gone = append(gone, e)
		}
	}
	return gone, added
}
