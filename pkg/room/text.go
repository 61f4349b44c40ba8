// SPDX-License-Identifier: Apache-2.0

package room

import (
	"bytes"
	"errors"
	"io"
)

// What an object takes of memory, about, as measured: for each byte of its text, and for each place where something begins in it.
const (
	perByte       = 2
	perPlace      = 100
	perBytePacked = 8 // of protobuf
)

// smallText is how much is read without waiting, and longText how long a text is taken for that does not say.
const (
	smallText = 256 << 10
	longText  = 4 << 20
)

// protobufPrefix begins what is stored, or sent, in Kubernetes' protobuf.
var protobufPrefix = []byte("k8s\x00")

// CostOf estimates what data, as it is stored, takes as an object and as an answer.
func CostOf(data []byte) int64 {
	if len(data) <= FreeText {
		return 0
	}
	s := scan{syntax: JSON}
	if bytes.HasPrefix(data, protobufPrefix) {
		s.syntax = Packed
	}
	s.add(data)
	return s.cost()
}

// Syntax is what a text is written in.
type Syntax int

// In JSON what is between quotes is one thing; in YAML it is not that easy.
const (
	JSON Syntax = iota
	YAML
	Packed
)

// scan looks for the places in a text where something begins.
type scan struct {
	syntax          Syntax
	bytes, places   int64
	quoted, escaped bool
}

func (s *scan) add(data []byte) {
	s.bytes += int64(len(data))
	if s.syntax == Packed {
		return
	}
	for _, c := range data {
		if s.quoted {
			switch {
			case s.escaped:
				s.escaped = false
			case c == '\\':
				s.escaped = true
			case c == '"':
				s.quoted = false
			}
			continue
		}
		switch c {
		case '"':
			s.quoted = s.syntax == JSON
		case '{', '[', ',', ':':
			s.places++
		case '\n':
			if s.syntax == YAML {
				s.places++
			}
		}
	}
}

func (s *scan) cost() int64 {
	if s.syntax == Packed {
		return s.bytes * perBytePacked
	}
	return s.bytes*perByte + s.places*perPlace
}

// Text returns text, for whom it is read, of that length or -1. Where there is much of it reading waits for room, first to begin and, at its end, for what it
// will be as an object.
func (a *Account) Text(text io.ReadCloser, syntax Syntax, length int64) io.ReadCloser {
	if length >= 0 && length <= FreeText {
		return text
	}
	return &reader{ReadCloser: text, account: a, scan: scan{syntax: syntax}, length: length}
}

type reader struct {
	io.ReadCloser
	account *Account
	scan    scan
	length  int64
	held    int64 // of the texts' budget
	done    bool
}

// Read implements io.Reader.
func (r *reader) Read(data []byte) (int, error) {
	if err := r.begin(); err != nil {
		return 0, err
	}
	n, err := r.ReadCloser.Read(data)
	r.scan.add(data[:n])
	if errors.Is(err, io.EOF) && !r.done {
		if err := r.end(); err != nil {
			return 0, err
		}
	}
	return n, err
}

// begin waits for room to read more.
func (r *reader) begin() error {
	if r.held > 0 || r.done {
		return nil
	}
	want := r.length
	if want < 0 && r.scan.bytes >= smallText {
		want = longText
	}
	if want <= smallText {
		return nil
	}
	want = min(want, textBudget)
	if err := r.account.acquire(r.account.room.texts, want); err != nil {
		return err
	}
	r.held = want
	return nil
}

// end waits for room for what has been read.
func (r *reader) end() error {
	r.done = true
	a := r.account
	a.mu.Lock()
	work := a.needs(r.scan.cost())
	a.mu.Unlock()
	err := a.take(work)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && a.work >= work || a.closed {
		a.room.texts.Release(r.held) // the work includes it
	} else {
		a.text += r.held // until the request ends
	}
	r.held = 0
	return err
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.account.room.texts.Release(r.held)
	r.held, r.done = 0, true
	return r.ReadCloser.Close()
}
