// SPDX-License-Identifier: Apache-2.0

package room

import (
	"bytes"
	"context"
	"runtime"
	"strconv"
	"sync"
)

// The machinery's converter of custom resources calls its webhook without the request's context, but on the request's goroutine, and its transport finds the
// account by that. To find out which goroutine calls takes a microsecond, a thousandth of such a call.

// working has the accounts of requests by the goroutine that works on them.
var working sync.Map // of uint64 to *Account

// Working says that the calling goroutine works on the request that ctx is of, until it calls end.
func Working(ctx context.Context) (end func()) {
	a := AccountOf(ctx)
	if a == nil {
		return func() {}
	}
	me := goroutine()
	before, nested := working.Swap(me, a)
	return func() {
		if nested {
			working.Store(me, before)
		} else {
			working.Delete(me)
		}
	}
}

// AccountAtWork returns the account of the request that the calling goroutine works on, or nil.
func AccountAtWork() *Account {
	if a, ok := working.Load(goroutine()); ok {
		return a.(*Account)
	}
	return nil
}

// goroutine is the number of the calling goroutine, which its stack trace begins with: "goroutine 7 [running]:".
func goroutine() uint64 {
	var text [64]byte
	words := bytes.Fields(text[:runtime.Stack(text[:], false)])
	number, err := strconv.ParseUint(string(words[1]), 10, 64)
	if err != nil {
		panic(err) // runtime has changed what it prints
	}
	return number
}
