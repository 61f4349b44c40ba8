// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// layout is an empty chain that tells of what make a table is. Raise the number with every change to what exists in the
// kernel under a name: the type, flags or key of a set or map, the hook or priority of a chain. The kernel refuses to
// change those in place, so a process that was replaced by a newer one leaves a table that cannot be refilled.
//
// Such a table goes on serving until the proxy, which comes last and knows of all parts, puts a new one in its place in
// one transaction.
const layout = "layout-1"

// ErrLayout says that a table is not of this program's make, and cannot be added to.
var ErrLayout = errors.New("the table is of another version of this program")

// Begin queues the making of the table, unless it is there. It returns ErrLayout where one of another make is there.
func Begin(c *nftables.Conn, name string) (*nftables.Table, error) {
	t := Table(name)
	if _, err := c.ListTableOfFamily(name, t.Family); err == nil {
		if _, err := c.ListChain(t, layout); err != nil { // which hides what the kernel said
			return nil, fmt.Errorf("%w: %w", ErrLayout, err)
		}
	} else if !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("look for the table: %w", err)
	}
	c.AddTable(t)
	c.AddChain(&nftables.Chain{Name: layout, Table: t})
	return t, nil
}

// BeginAnew queues the removal of whatever table is there, and the making of a new one. What was in the old one and is
// to be in the new one has to be queued after it.
func BeginAnew(c *nftables.Conn, name string) *nftables.Table {
	t := c.AddTable(Table(name)) // so that the deletion finds one
	c.DelTable(t)
	c.AddTable(t)
	c.AddChain(&nftables.Chain{Name: layout, Table: t})
	return t
}

// Disown makes a table, which has turned out to be no good, one of another make: it serves until it is replaced.
func Disown(name string) error {
	c, err := Open()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	c.DelChain(&nftables.Chain{Name: layout, Table: Table(name)})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("delete chain %s of table %s: %w", layout, name, err)
	}
	return nil
}
