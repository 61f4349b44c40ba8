// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	longest         = time.Hour        // an answer is remembered
	longestNegative = 30 * time.Second // that there is nothing (RFC 2308)
	failure         = 2 * time.Second  // that a server failed
)

// question is what an answer depends on.
type question struct {
	name            string // in lower case
	qtype, class    uint16
	dnssec, nocheck bool
}

func keyOf(request *dns.Msg) question {
	q := request.Question[0]
	k := question{name: strings.ToLower(q.Name), qtype: q.Qtype, class: q.Qclass, nocheck: request.CheckingDisabled}
	if opt := request.IsEdns0(); opt != nil {
		k.dnssec = opt.Do()
	}
	return k
}

// answers is a bounded cache of upstream answers: about 1 KB each. When it is full, some answers make room at random:
// which ones hardly matters to so small a cache, and it needs no order of use.
type answers struct {
	mu    sync.Mutex
	limit int
	have  map[question]remembered
}

type remembered struct {
	msg           *dns.Msg // not to be changed
	since, expire time.Time
}

func newAnswers(limit int) *answers { return &answers{limit: limit, have: map[question]remembered{}} }

// get returns the answer with its TTLs aged, or nil.
func (a *answers) get(k question, now time.Time) *dns.Msg {
	a.mu.Lock()
	r, ok := a.have[k]
	if ok && !now.Before(r.expire) {
		delete(a.have, k)
		ok = false
	}
	a.mu.Unlock()
	if !ok {
		return nil
	}
	msg := r.msg.Copy()
	age := uint32(now.Sub(r.since) / time.Second)
	for _, section := range [][]dns.RR{msg.Answer, msg.Ns, msg.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(h.Ttl, age)
			}
		}
	}
	return msg
}

// put remembers the answer for as long as it says.
func (a *answers) put(k question, msg *dns.Msg, now time.Time) {
	life := lifetime(msg)
	if life <= 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for other := range a.have {
		if len(a.have) < a.limit {
			break
		}
		delete(a.have, other)
	}
	a.have[k] = remembered{msg.Copy(), now, now.Add(life)}
}

// lifetime is the smallest TTL of an answer, that of the authority's SOA where there is no answer, and little where a
// server failed.
func lifetime(msg *dns.Msg) time.Duration {
	if msg.Truncated {
		return 0
	}
	switch {
	case msg.Rcode == dns.RcodeSuccess && len(msg.Answer) > 0:
		life := longest
		for _, rr := range msg.Answer {
			life = min(life, time.Duration(rr.Header().Ttl)*time.Second)
		}
		return life
	case msg.Rcode == dns.RcodeSuccess || msg.Rcode == dns.RcodeNameError:
		for _, rr := range msg.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				return min(longestNegative, time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second)
			}
		}
		return 0
	case msg.Rcode == dns.RcodeServerFailure:
		return failure
	}
	return 0
}
