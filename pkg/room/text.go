// SPDX-License-Identifier: Apache-2.0

package room

import (
	"bytes"
	"errors"
	"io"
)

// What an object takes of memory, about, as measured: for each byte of its text, and for each element, of which a stored object in protobuf is not asked.
const (
	perByte       = 2
	perElement    = 64
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

func (s *scan) cost() int64 {
	each := int64(perByte)
	if s.syntax == Packed {
		each = perBytePacked
	}
	return s.bytes*each + s.elements*perElement
}

// Text returns text, for whom it is read, of that length or -1. Where there is much of it reading waits for room, first to begin and, at its end, for what it
// will be as an object.
func (a *Account) Text(text io.ReadCloser, syntax Syntax, length int64) io.ReadCloser {
	if length >= 0 && length <= FreeText {
		return text
	}
	return &reader{ReadCloser: text, account: a, scan: scan{syntax: syntax}, length: length}
}

// Body is Text of what a client has sent, which is refused at its end where it has too many elements, or is nested too deep.
func (a *Account) Body(text io.ReadCloser, syntax Syntax, length int64) io.ReadCloser {
	body := a.Text(text, syntax, length)
	if r, ok := body.(*reader); ok {
		r.body = true
	}
	return body
}

type reader struct {
	io.ReadCloser
	account *Account
	scan    scan
	length  int64
	held    int64 // of the texts' budget
	done    bool

	body bool
	kept []byte // what there is of a body that is not JSON, or may be
}

// Read implements io.Reader.
func (r *reader) Read(data []byte) (int, error) {
	if err := r.begin(); err != nil {
		return 0, err
	}
	n, err := r.ReadCloser.Read(data)
	r.scan.add(data[:n])
	if r.body && (r.scan.syntax == Packed || r.scan.syntax == YAML) {
		r.kept = append(r.kept, data[:n]...)
	}
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
	if r.body {
		r.scan.complete(r.kept)
		r.kept = nil
		if err := r.scan.refusal(0); err != nil {
			return err
		}
	}
	a.mu.Lock()
	a.sprawls = a.sprawls || r.scan.elements > manyElements
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
	r.held, r.done, r.kept = 0, true, nil
	return r.ReadCloser.Close()
}
