package labtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
)

// SystemCall is one that a program is about to make.
type SystemCall struct {
	Number    int
	Arguments [6]uint64
	thread    int
}

// StartInjected starts a program in the host and asks about each of these system calls
// of it, and of the programs that it starts, whether it should fail: fails returns 0 for
// no. A call that fails is not made. The programs need not know: the kernel stops each at
// the call (seccomp_unotify(2)). fails is called by one goroutine.
func StartInjected(t testing.TB, n *lab.Namespace, cmd *exec.Cmd, calls []int, fails func(SystemCall) unix.Errno) {
	t.Helper()
	// A child inherits the filter of the thread that forks it. That thread ends with Do.
	In(t, n, func() error {
		listener, err := listenTo(calls)
		if err != nil {
			return fmt.Errorf("stop system calls: %w", err)
		}
		go answer(listener, fails)
		return cmd.Start()
	})
}

// listenTo makes calls of this thread wait for an answer that is given by the listener.
func listenTo(calls []int) (listener int, err error) {
	const (
		loadWord   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jumpIfSame = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		verdict    = unix.BPF_RET | unix.BPF_K
	)
	filter := []unix.SockFilter{{Code: loadWord, K: 0}} // of struct seccomp_data: the system call
	for i, call := range calls {
		filter = append(filter, unix.SockFilter{Code: jumpIfSame, K: uint32(call), Jt: uint8(len(calls) - i)})
	}
	filter = append(filter,
		unix.SockFilter{Code: verdict, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: verdict, K: unix.SECCOMP_RET_USER_NOTIF})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}

// notification and response are struct seccomp_notif and seccomp_notif_resp.
type (
	notification struct {
		id            uint64
		thread, flags uint32
		number        int32
		architecture  uint32
		instruction   uint64
		arguments     [6]uint64
	}
	response struct {
		id    uint64
		value int64
		errno int32
		flags uint32
	}
)

// answer answers until all programs have ended.
func answer(listener int, fails func(SystemCall) unix.Errno) {
	defer unix.Close(listener)
	for {
		ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); errors.Is(err, unix.EINTR) {
			continue
		}
		if ready[0].Revents&unix.POLLIN == 0 {
			return
		}
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); errno != 0 {
			continue // the program was killed
		}
		const goOn = 1 // SECCOMP_USER_NOTIF_FLAG_CONTINUE
		r := response{id: n.id, flags: goOn}
		if errno := fails(SystemCall{int(n.number), n.arguments, int(n.thread)}); errno != 0 {
			r = response{id: n.id, errno: -int32(errno)}
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r)))
	}
}

// process returns the process that makes the call.
func (c SystemCall) process() int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.thread))
	_, rest, _ := strings.Cut(string(status), "\nTgid:")
	var id int
	if _, err := fmt.Sscan(rest, &id); err != nil {
		return c.thread
	}
	return id
}

// IsNetlink reports whether the first argument is a netlink socket.
func (c SystemCall) IsNetlink() bool {
	process, err := unix.PidfdOpen(c.process(), 0)
	if err != nil {
		return false
	}
	defer unix.Close(process)
	socket, err := unix.PidfdGetfd(process, int(c.Arguments[0]), 0)
	if err != nil {
		return false
	}
	defer unix.Close(socket)
	domain, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_NETLINK
}

// File is the path of the file that the call is about: that of the argument, which is
// open or, with isPath, names one.
func (c SystemCall) File(argument int, isPath bool) string {
	if !isPath {
		path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", c.thread, int32(c.Arguments[argument])))
		if err != nil {
			return ""
		}
		return path
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", c.thread))
	if err != nil {
		return ""
	}
	defer memory.Close()
	text := make([]byte, unix.PathMax)
	n, _ := memory.ReadAt(text, int64(c.Arguments[argument])) // it may end before that
	path, _, _ := bytes.Cut(text[:n], []byte{0})
	return string(path)
}
