// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"time"
)

// A node hears of its pods by a watch of its own, and may be quicker than the informers that decide here. So a refusal for want
// of news waits for them a little; what is truly not there costs its asker that long.
const (
	patience = 100 * time.Millisecond
	look     = 5 * time.Millisecond
)

// catchUp asks until the answer is yes or patience is over, and returns the last answer.
func catchUp(ctx context.Context, ask func() bool) bool {
	if ask() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
			if ask() {
				return true
			}
		}
	}
}
