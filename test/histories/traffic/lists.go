// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/test/histories/judge"
)

// list lists a resource in one of the ways there are, and records what it shows.
func (c *client) list(ctx context.Context, k *kind) error {
	query := url.Values{}
	l := &judge.List{Client: c.id, Resource: k.resource, Match: judge.Consistent}
	switch n := c.random.IntN(8); n {
	case 0, 1, 2: // the default
	case 3, 4:
		query.Set("limit", strconv.Itoa(1+c.random.IntN(len(c.names))))
	case 5:
		l.Match = judge.Any
		query.Set("resourceVersion", "0")
	default:
		l.Match = judge.NotOlderThan
		if n == 7 {
			l.Match = judge.Exact
		}
		if l.Asked = c.record.version(k.resource); l.Asked == 0 {
			return nil
		}
		query.Set("resourceVersion", strconv.FormatInt(l.Asked, 10))
		query.Set("resourceVersionMatch", string(l.Match))
	}
	l.Call = c.record.now()
	for page := 1; ; page++ {
		next, err := c.page(ctx, k, l, query)
		var status *statusError
		switch {
		case err == nil && next == "":
			c.record.list(l)
			return nil
		case err == nil:
			query = url.Values{"continue": {next}, "limit": {query.Get("limit")}}
		case errors.Is(err, errAway) && page > 1 && ctx.Err() == nil:
			idle(ctx.Done(), awayFor) // a continued list outlives a restart
		case errors.As(err, &status) && status.Code == http.StatusGone && (page > 1 || l.Match == judge.Exact):
			c.record.refused(status.Error())
			return nil // an honest answer to a version that is too old
		case errors.As(err, &status) && (status.Code >= 500 || status.Reason == metav1.StatusReasonTooManyRequests || status.Reason == metav1.StatusReasonNotFound):
			c.record.refused(status.Error())
			return nil
		case errors.As(err, new(broken)) && page > 1 && ctx.Err() == nil:
		case errors.Is(err, errAway), errors.As(err, new(broken)):
			return err
		default:
			c.record.unexpected(fmt.Errorf("%s, page %d: %w", l, page, err))
			return nil
		}
	}
}

// page reads one answer into l and returns how to continue, "" at the end.
func (c *client) page(ctx context.Context, k *kind, l *judge.List, query url.Values) (next string, err error) {
	var out wireList
	if err := c.do(ctx, http.MethodGet, k.path(""), query, "", nil, &out); err != nil {
		return "", err
	}
	version, err := strconv.ParseInt(out.Metadata.ResourceVersion, 10, 64)
	if err != nil {
		return "", fmt.Errorf("the list has resourceVersion %q, want a number", out.Metadata.ResourceVersion)
	}
	if l.Version == 0 {
		l.Version, l.Return = version, c.record.now()
	} else if l.Version != version {
		return "", fmt.Errorf("a page has version %d, the first had %d", version, l.Version)
	}
	for i := range out.Items {
		o, err := out.Items[i].object(k)
		if err != nil {
			return "", err
		}
		l.Items = append(l.Items, c.record.keep(o))
	}
	return out.Metadata.Continue, nil
}
