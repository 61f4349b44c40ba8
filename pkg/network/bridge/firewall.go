// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"bytes"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"

	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

// In nftables a packet must be accepted by every table, so a firewall of the host that drops by default (ufw, firewalld,
// Docker's FORWARD policy) would cut pods off. openFirewalls puts rules at the head of such chains that accept what goes
// to or comes from the bridge; each carries the table's name, by which closeFirewalls finds it again.
// The cost is one listing of the machine's chains, and of the rules of those that hook input and forward.
func openFirewalls(table, bridge string) error {
	return editFirewalls(table, func(c *nftables.Conn, chain *nftables.Chain) {
		if !dropsByDefault(chain) {
			return
		}
		matches := [][]expr.Any{nft.InLink(bridge)}
		if *chain.Hooknum == *nftables.ChainHookForward {
			matches = append(matches, nft.OutLink(bridge))
		}
		for _, m := range matches {
			c.InsertRule(&nftables.Rule{
				Table: chain.Table, Chain: chain, UserData: tag(table),
				Exprs: nft.Rule(m, []expr.Any{&expr.Counter{}}, nft.Accept()), // the form that iptables prints
			})
		}
	})
}

func closeFirewalls(table string) error {
	return editFirewalls(table, func(*nftables.Conn, *nftables.Chain) {})
}

// editFirewalls removes our rules from the input and forward chains of other tables, and lets add put some anew, all in
// one transaction.
func editFirewalls(table string, add func(*nftables.Conn, *nftables.Chain)) error {
	c, err := nft.Open()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	chains, err := c.ListChains()
	if err != nil {
		return fmt.Errorf("list chains of the host's firewalls: %w", err)
	}
	for _, chain := range chains {
		if chain.Hooknum == nil || chain.Type != nftables.ChainTypeFilter || chain.Table.Name == table {
			continue
		}
		if f := chain.Table.Family; f != nftables.TableFamilyIPv4 && f != nftables.TableFamilyINet {
			continue
		}
		if h := *chain.Hooknum; h != *nftables.ChainHookForward && h != *nftables.ChainHookInput {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return fmt.Errorf("list rules of chain %s in table %s: %w", chain.Name, chain.Table.Name, err)
		}
		for _, r := range rules {
			if !bytes.Equal(r.UserData, tag(table)) {
				continue
			}
			if err := c.DelRule(&nftables.Rule{Table: chain.Table, Chain: chain, Handle: r.Handle}); err != nil {
				return err
			}
		}
		add(c, chain)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("edit the host's firewalls: %w", err)
	}
	return nil
}

// dropsByDefault tells whether a chain drops what none of its rules accepts. firewalld's chains say accept and end with
// a rule that rejects.
func dropsByDefault(chain *nftables.Chain) bool {
	return isFirewalld(chain) || chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
}

func isFirewalld(chain *nftables.Chain) bool { return chain.Table.Name == "firewalld" }

func tag(table string) []byte {
	return userdata.AppendString(nil, userdata.TypeComment, table)
}
