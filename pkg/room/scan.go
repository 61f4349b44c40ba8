// SPDX-License-Identifier: Apache-2.0

package room

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Syntax is what a text is written in.
type Syntax int

// In JSON what is between quotes is one thing; in YAML it is not that easy.
const (
	JSON Syntax = iota
	YAML
	Packed // Kubernetes' protobuf
	Merge  // a strategic merge patch, which is JSON
)

// What a body may have. One with more takes hundreds of megabytes, or minutes, to be decoded and found wrong; a megabyte of a CustomResourceDefinition has
// 75,000 elements.
const (
	mostElements = 320 << 10
	mostMerged   = 64 << 10 // in a strategic merge patch, where each element of a list is compared with all others
	mostLevels   = 1000
	// theirLevels is what the decoder of JSON refuses by itself, in words that clients may know, before it makes anything of it.
	theirLevels = 10_000

	manyElements = 16 << 10 // that can have as many errors, which take seconds to join
)

// An object in a text becomes a struct or a map, however short it is; any other value is small.
const (
	weightOfObject  = 4
	weightOfNothing = 8 // an object without fields, or null in the place of one
)

// scan looks for what a text has in it.
type scan struct {
	syntax        Syntax
	bytes         int64
	elements      int64 // values, of which objects count for more
	depth, levels int   // brackets that are open now, and the most there have been

	quoted, escaped bool
	opened          bool // an object, of which nothing has come yet
	inLine          bool // of YAML, past what a line is indented by
	column          int
}

// add looks at more of a text. Of one that is Packed it tells the length alone: message tells the rest.
func (s *scan) add(data []byte) {
	s.bytes += int64(len(data))
	switch s.syntax {
	case JSON, Merge:
		s.addJSON(data)
	case YAML:
		s.addYAML(data)
	}
}

func (s *scan) addJSON(data []byte) {
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
		if c == ' ' || c == '\n' || c == '\t' || c == '\r' {
			continue
		}
		if s.opened && c == '}' {
			s.elements += weightOfNothing - weightOfObject
		}
		s.opened = c == '{'
		switch c {
		case '"':
			s.quoted = true
		case '{':
			s.elements += weightOfObject
			s.open()
		case '[':
			s.open()
		case '}', ']':
			s.depth--
		case ',', ':':
			s.elements++
		case 'n': // of null, which is an object where a list of them is expected
			s.elements += weightOfNothing
		}
	}
}

// addYAML takes every line and every value of a list for an object, as each can be one.
func (s *scan) addYAML(data []byte) {
	for _, c := range data {
		if !s.inLine {
			if c == ' ' || c == '-' || c == '?' || c == '\t' {
				s.column++
				continue
			}
			s.inLine = true
			s.levels = max(s.levels, s.column+s.depth)
		}
		switch c {
		case '{', '[':
			s.elements += weightOfObject
			s.open()
		case '}', ']':
			s.depth = max(s.depth-1, 0) // brackets in words do not come in pairs
		case ',':
			s.elements += weightOfObject
		case ':':
			s.elements++
		case '\n':
			s.elements += weightOfObject
			s.inLine, s.column = false, 0
		}
	}
}

func (s *scan) open() {
	s.elements++
	s.depth++
	s.levels = max(s.levels, s.column+s.depth)
}

// message looks at a message of protobuf, and at those in it. It tells whether data may be one: other bytes are not, or by accident.
func (s *scan) message(data []byte, level int) bool {
	if isText(data) {
		return false
	}
	s.levels = max(s.levels, level)
	if level > mostLevels {
		return true
	}
	fields := 0
	for ; len(data) > 0; fields++ {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			break
		}
		data = data[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
				break
			}
			data = data[n:]
			s.elements++
			continue
		}
		inner, n := protowire.ConsumeBytes(data)
		if n < 0 {
			break
		}
		data = data[n:]
		s.elements++
		switch isMessage := s.message(inner, level+1); {
		case len(inner) == 0:
			s.elements += weightOfNothing
		case isMessage:
			s.elements += weightOfObject
		}
	}
	return fields > 0
}

// isText tells whether data is a string that is not empty. A message seldom looks like one: the tags of its first fields, and lengths of short ones, are control
// characters.
func isText(data []byte) bool {
	for _, c := range data {
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
	}
	return len(data) > 0 && utf8.Valid(data)
}

// complete looks at the whole of a text that add alone cannot tell about. Clients send JSON for YAML, which it is as well.
func (s *scan) complete(text []byte) {
	switch {
	case s.syntax == Packed && bytes.HasPrefix(text, protobufPrefix):
		s.message(text[len(protobufPrefix):], 0)
	case s.syntax == YAML && bytes.HasPrefix(text, []byte("{")) && json.Valid(text):
		*s = scan{syntax: JSON}
		s.add(text)
	}
}

// Check returns an error where JSON that is not from a client, nor stored, is more than a client's body may be, but for so many elements more.
func Check(text []byte, more int64) error {
	s := scan{syntax: JSON}
	s.add(text)
	return s.refusal(more)
}

// Counter is Check of a text that comes in pieces, which are JSON together.
type Counter struct{ scan scan }

// Add tells of the next piece. It returns an error where there is too much in all so far.
func (c *Counter) Add(piece []byte) error {
	c.scan.add(piece)
	return c.scan.refusal(0)
}

// refusal is what the client is told whose body is like this, or nil. It may have more elements than others by so many.
func (s *scan) refusal(more int64) error {
	most := mostElements + more
	if s.syntax == Merge {
		most = mostMerged
	}
	switch {
	case s.levels > theirLevels && (s.syntax == JSON || s.syntax == Merge):
		return nil
	case s.levels > mostLevels:
		return apierrors.NewBadRequest(fmt.Sprintf("the body is nested %d levels deep, limit is %d: make the object flatter", s.levels, mostLevels))
	case s.elements > most:
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("it has %d elements, where an object counts as %d and an empty one as %d, limit is %d: divide it into several objects",
			s.elements, 1+weightOfObject, 1+weightOfNothing, most))
	}
	return nil
}
