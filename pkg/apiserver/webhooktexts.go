// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// examinedBody has the body of an answer end with an error where examine finds one in all of it.
type examinedBody struct {
	io.ReadCloser
	examine func(text []byte) error
	length  int64 // as far as it is known

	text []byte // nothing until there is room to read
	done bool
}

// Read implements io.Reader.
func (b *examinedBody) Read(data []byte) (int, error) {
	n, err := b.ReadCloser.Read(data)
	if b.text == nil && n > 0 {
		b.text = make([]byte, 0, max(min(b.length, smallAnswer), int64(n)))
	}
	b.text = append(b.text, data[:n]...)
	if errors.Is(err, io.EOF) && !b.done {
		b.done = true
		examined := b.examine(b.text)
		b.text = nil
		if examined != nil {
			return 0, examined
		}
	}
	return n, err
}

// examineReview refuses the answer of an admission webhook whose patch has more in it than a body may. What else is wrong with it the machinery finds.
func examineReview(text []byte) error {
	if len(text) <= room.FreeText {
		return nil
	}
	var review struct {
		Response struct {
			Patch []byte `json:"patch"`
		} `json:"response"`
	}
	if json.Unmarshal(text, &review) != nil {
		return nil
	}
	if err := room.Check(review.Response.Patch, 0); err != nil {
		return fmt.Errorf("the webhook's patch has too much in it: %w", err)
	}
	return nil
}

// examineConversion returns what refuses the answer of a conversion webhook with more in it than a body may have and than there are bytes in the question, which may
// have been about many objects.
func examineConversion(question int64) func([]byte) error {
	return func(text []byte) error {
		if err := room.Check(text, max(question, 0)); err != nil {
			return fmt.Errorf("the webhook's answer has too much in it: %w", err)
		}
		return nil
	}
}
