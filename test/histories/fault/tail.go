// SPDX-License-Identifier: Apache-2.0

// Package fault breaks things below a hivemindd as machines do: what a power cut leaves of a write, a disk that is full or slow, a clock that is set.
package fault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// sector is what a disk writes wholly or not at all.
const sector = 512

// TearTail leaves a record at the end of the newest write-ahead log in an etcd data directory of which only the first sectors were written, as a power cut does to
// a write that had not been acknowledged. The rest is zeros, as all of the file is before it is written. The server must not run.
func TearTail(etcd string, random *rand.Rand) error {
	logs, err := filepath.Glob(filepath.Join(etcd, "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		return fmt.Errorf("find a write-ahead log in %s: %w", etcd, errors.Join(err, os.ErrNotExist))
	}
	f, err := os.OpenFile(slices.Max(logs), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := endOfLog(f)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const length = 8 * sector
	if end+8+length > info.Size() {
		return nil // the next record begins a file
	}
	torn := make([]byte, 8+length)
	binary.LittleEndian.PutUint64(torn, length)
	// From a few bytes of the record to all of it but some sectors.
	for i := range torn[8 : sector+random.IntN(6*sector)] {
		torn[8+i] = byte(1 + random.IntN(255))
	}
	// Sectors are those of the file; the last ones of the record stay zero.
	_, err = f.WriteAt(torn, end)
	return err
}

// endOfLog is where the next record goes: after a frame of 8 bytes, whose lower 56 bits are the record's length and whose highest byte says in its lower three
// bits how many bytes of padding follow, come the record and the padding.
func endOfLog(f io.ReaderAt) (int64, error) {
	var frame [8]byte
	for at := int64(0); ; {
		if _, err := f.ReadAt(frame[:], at); errors.Is(err, io.EOF) {
			return at, nil
		} else if err != nil {
			return 0, err
		}
		field := binary.LittleEndian.Uint64(frame[:])
		if field == 0 {
			return at, nil
		}
		length := int64(field &^ (0xff << 56))
		if int64(field) < 0 {
			length += int64(field >> 56 & 0x7)
		}
		at += 8 + length
	}
}
