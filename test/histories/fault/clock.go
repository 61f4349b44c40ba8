// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Clock is the clock of one process, which can be set without that of the machine.
//
// A process reads the clock in code that the kernel maps into it, the vDSO. This writes other code over its clock_gettime: one that asks the kernel, and adds an
// offset to the time of day. So the process sees what it would if the machine's clock were set: the time of day jumps, monotonic time does not. (Time namespaces
// have no time of day; a library that is preloaded does not reach a static program.)
type Clock struct {
	mem    *os.File
	offset int64 // where it is in the process
}

// setClock is clock_gettime(2), and an offset of seconds, which follows it in memory.
var setClock = []byte{
	0xb8, 228, 0, 0, 0, // mov eax, SYS_clock_gettime
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi: CLOCK_REALTIME is 0
	0x75, 10, // jne to ret
	0x48, 0x8b, 0x0d, 4, 0, 0, 0, // mov rcx, [offset]
	0x48, 0x01, 0x0e, // add [rsi], rcx: the seconds
	0xc3, // ret
}

// TakeClock takes over the clock of a process of amd64.
func TakeClock(pid int) (*Clock, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("the clock of a process can be set on amd64, not on %s", runtime.GOARCH)
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	first, end, err := vdso(pid)
	if err == nil {
		var function elf.Symbol
		if function, err = find(mem, first, end); err == nil {
			// The offset is aligned, so that it is never seen half written.
			c := &Clock{mem: mem, offset: (first + int64(function.Value) + int64(len(setClock)) + 7) &^ 7}
			code := slices.Clone(setClock)
			next := first + int64(function.Value) + 18 // what rip is when the offset is read
			binary.LittleEndian.PutUint32(code[14:], uint32(c.offset-next))
			code = append(code, make([]byte, c.offset+8-(first+int64(function.Value)+int64(len(code))))...)
			if uint64(len(code)) > function.Size {
				err = fmt.Errorf("the vDSO's clock_gettime has %d bytes, %d are needed", function.Size, len(code))
			} else if err = replace(pid, mem, first, end, int64(function.Value), code); err == nil {
				return c, nil
			}
		}
	}
	return nil, errors.Join(fmt.Errorf("take over the clock of process %d: %w", pid, err), mem.Close())
}

// Set makes the process's clock differ from the machine's.
func (c *Clock) Set(offset time.Duration) error {
	_, err := c.mem.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(int64(offset/time.Second))), c.offset)
	return err
}

// Close lets go of the process; its clock stays as it was set.
func (c *Clock) Close() error { return c.mem.Close() }

// vdso is where the vDSO is in a process.
func vdso(pid int) (first, end int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(line, "[vdso]\n") {
			_, err := fmt.Sscanf(line, "%x-%x", &first, &end)
			return first, end, err
		}
	}
	return 0, 0, errors.New("it has no vDSO")
}

// find finds clock_gettime in the vDSO.
func find(mem *os.File, first, end int64) (elf.Symbol, error) {
	image := make([]byte, end-first)
	if _, err := mem.ReadAt(image, first); err != nil {
		return elf.Symbol{}, err
	}
	library, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return elf.Symbol{}, err
	}
	symbols, err := library.DynamicSymbols()
	if err != nil {
		return elf.Symbol{}, err
	}
	i := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == "__vdso_clock_gettime" })
	if i < 0 {
		return elf.Symbol{}, errors.New("its vDSO has no __vdso_clock_gettime")
	}
	return symbols[i], nil
}

// replace writes code into the vDSO at a moment when no thread is in there.
func replace(pid int, mem *os.File, first, end, at int64, code []byte) (err error) {
	for range 1000 {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return err
		}
		var outside bool
		if outside, err = stoppedOutside(pid, first, end); err == nil && outside {
			_, err = mem.WriteAt(code, first+at)
			return errors.Join(err, syscall.Kill(pid, syscall.SIGCONT))
		}
		if err := errors.Join(err, syscall.Kill(pid, syscall.SIGCONT)); err != nil {
			return err
		}
		time.Sleep(time.Millisecond) // in which it leaves the function
	}
	return errors.New("a thread is always in the vDSO")
}

// stoppedOutside waits until all threads of a process have stopped, and tells whether none of them is between two addresses.
func stoppedOutside(pid int, first, end int64) (bool, error) {
	for range 1000 {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		if err != nil {
			return false, err
		}
		stopped, outside := true, true
		for _, task := range tasks {
			stat, err := os.ReadFile(filepath.Join(task, "stat"))
			if err != nil {
				return false, err
			}
			_, state, _ := bytes.Cut(stat, []byte(") "))
			stopped = stopped && bytes.HasPrefix(state, []byte("T"))
			where, err := os.ReadFile(filepath.Join(task, "syscall")) // ends with the stack pointer and the program counter
			if err != nil {
				return false, err
			}
			words := strings.Fields(string(where))
			pc, err := strconv.ParseInt(words[len(words)-1], 0, 64)
			outside = outside && err == nil && (pc < first || pc >= end)
		}
		if stopped {
			return outside, nil
		}
		time.Sleep(100 * time.Microsecond)
	}
	return false, fmt.Errorf("process %d does not stop", pid)
}
