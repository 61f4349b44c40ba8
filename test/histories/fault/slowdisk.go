// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SlowDisk makes a process wait whenever it asks that what it has written be on the disk, as a slow or busy disk does: fsync(2) and fdatasync(2) are done
// after a delay.
//
// The process is started by a child of this program that installs a seccomp filter, which asks this program about these two calls and lets all others
// pass (seccomp_unotify(2)). Programs of every kind can be slowed down so, on file systems of every kind.
type SlowDisk struct {
	delay atomic.Int64
	// Calls counts what was delayed.
	Calls atomic.Int64

	mu       sync.Mutex
	answers  sync.WaitGroup
	released chan struct{} // closed when no delay holds any more
}

// NewSlowDisk returns a disk without delay.
func NewSlowDisk() *SlowDisk { return &SlowDisk{released: make(chan struct{})} }

// SetDelay makes each call that comes from now on take longer by d. With 0 also those go on that wait.
func (s *SlowDisk) SetDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delay.Store(int64(d)); d == 0 {
		close(s.released)
		s.released = make(chan struct{})
	}
}

// childArg is how this program knows that it is to start another with a filter.
const childArg = "run-with-slow-disk"

// Start starts cmd, as cmd.Start does.
func (s *SlowDisk) Start(cmd *exec.Cmd) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	cmd.Args = append([]string{self, childArg, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = self
	cmd.ExtraFiles = []*os.File{theirs} // descriptor 3
	err = errors.Join(cmd.Start(), theirs.Close())
	if err != nil {
		return err
	}
	listener, err := receive(int(ours.Fd()))
	if err != nil {
		return errors.Join(fmt.Errorf("install a filter of system calls: %w", err), cmd.Process.Kill(), cmd.Wait())
	}
	s.answers.Go(func() { s.answer(listener) })
	return nil
}

// Close waits until the processes that were started have ended.
func (s *SlowDisk) Close() {
	s.SetDelay(0)
	s.answers.Wait()
}

// receive takes a descriptor that was sent.
func receive(socket int) (int, error) {
	buffer, control := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, buffer, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return 0, errors.Join(errors.New("the child has sent no descriptor; its output tells why"), err)
	}
	rights, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	return rights[0], nil
}

// notification is struct seccomp_notif, response struct seccomp_notif_resp.
type notification struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type response struct {
	id    uint64
	value int64
	err   int32
	flags uint32
}

// answer lets calls pass after their delay, until the process has ended.
func (s *SlowDisk) answer(listener int) {
	var waiting sync.WaitGroup
	defer func() {
		waiting.Wait()
		unix.Close(listener)
	}()
	for {
		ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil || ready[0].Revents&unix.POLLIN == 0 {
			return // nobody has the filter any more
		}
		var n notification
		if control(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)) != nil {
			continue // the thread has gone
		}
		s.Calls.Add(1)
		s.mu.Lock()
		released, delay := s.released, time.Duration(s.delay.Load())
		s.mu.Unlock()
		waiting.Go(func() {
			if delay > 0 {
				select {
				case <-time.After(delay):
				case <-released:
				}
			}
			// An error means that the process was killed meanwhile.
			_ = control(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}))
		})
	}
}

func control(fd int, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

// RunIfChild becomes another program where this one was started by SlowDisk.Start. Call it first in main.
func RunIfChild() {
	if len(os.Args) < 3 || os.Args[1] != childArg {
		return
	}
	fmt.Fprintln(os.Stderr, "start with a slow disk:", become(os.Args[2], os.Args[2:]))
	os.Exit(1)
}

// become installs the filter, sends its listener, and executes a program in place of this one.
func become(program string, args []string) error {
	runtime.LockOSThread() // which has the filter, and executes
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FSYNC, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FDATASYNC, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		uintptr(unsafe.Pointer(&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})))
	if errno != 0 {
		return fmt.Errorf("install a filter of system calls: %w", errno)
	}
	const socket = 3
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(int(listener)), nil, 0); err != nil {
		return err
	}
	unix.CloseOnExec(socket)
	return unix.Exec(program, args, os.Environ())
}
