package cli_test

import (
	"bytes"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// netlinkCalls send and receive netlink messages.
var netlinkCalls = []int{unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_RECVFROM, unix.SYS_RECVMSG}

// injected runs a command of which the nth call fails that is of interest. failed says
// that there was such a call.
func (s *site) injected(t *testing.T, calls []int, of func(labtest.SystemCall) bool, nth int, errno unix.Errno, args ...string) (o outcome, failed bool) {
	t.Helper()
	cmd := s.command(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	number, asked := nth, make(chan bool, 1)
	asked <- false
	labtest.StartInjected(t, s.host, cmd, calls, func(c labtest.SystemCall) unix.Errno {
		if nth < 0 || !of(c) {
			return 0
		}
		if nth--; nth >= 0 {
			return 0
		}
		<-asked
		asked <- true
		return errno
	})
	finished(t, cmd, fmt.Sprintf("call %d fails with %s", number, unix.ErrnoName(errno)))
	return outcome{out.String(), errs.String(), cmd.ProcessState.ExitCode()}, <-asked
}

// finished waits for a program. One that hangs has to say where.
func finished(t *testing.T, cmd *exec.Cmd, what string) {
	t.Helper()
	hangs := time.AfterFunc(time.Until(labtest.Deadline()), func() {
		t.Errorf("%s: it hangs", what)
		cmd.Process.Signal(unix.SIGQUIT)
	})
	cmd.Wait() // its status is part of the outcome
	hangs.Stop()
}

// whole is all that a fence has in the kernel, over whichever back end, without what
// packets and a change's own names make different.
func (s *site) whole(t *testing.T) string {
	t.Helper()
	b := backendOf(t)
	if b == "" || b == "nftables" {
		return dump(t, s.host)
	}
	var lines []string
	for _, family := range []string{"iptables", "ip6tables"} {
		for line := range strings.Lines(labtest.Run(t, s.host, family+strings.TrimPrefix(b, "iptables")+"-save")) {
			if strings.Contains(line, "RINGFENCE") {
				line, _, _ = strings.Cut(line, " [")
				line = strings.NewReplacer("RINGFENCE-A-", "RINGFENCE-", "RINGFENCE-B-", "RINGFENCE-").Replace(line)
				lines = append(lines, family+" "+strings.TrimSpace(line))
			}
		}
	}
	for line := range strings.Lines(labtest.Run(t, s.host, "ipset", "save")) {
		line, _, _ = strings.Cut(line, " initval")
		lines = append(lines, strings.TrimSpace(line))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// injection is a kind of fault: calls of which one fails.
type injection struct {
	fault  string
	calls  []int
	of     func(s *site) func(labtest.SystemCall) bool
	errnos []unix.Errno
	// every says which calls fail: each of them, every second one, and so on. With inTurn
	// one fails with one of the errors, else with each of them.
	every  int
	inTurn bool
}

// TestNeverAFalseDone lets each netlink message of a change fail with each error that
// kernels give, when it is sent and when it is answered: the fence is as it was or as it
// should be, and the exit status says which. The next run works.
func TestNeverAFalseDone(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T) {
		t.Parallel()
		in := injection{
			fault: "each netlink message failing, with each error",
			calls: netlinkCalls,
			of:    func(*site) func(labtest.SystemCall) bool { return labtest.SystemCall.IsNetlink },
			// A call on a socket that does not wait is never interrupted: no EINTR.
			errnos: []unix.Errno{
				unix.EPERM, unix.ENOBUFS, unix.ENOMEM, unix.EBUSY, unix.ERESTART,
				unix.EINVAL, unix.ENOENT, unix.EEXIST, unix.EIO, unix.EOPNOTSUPP, unix.ENFILE,
			},
			every: labtest.Count(13, 1),
		}
		if backendOf(t) != "nftables" { // the programs of iptables send very many
			in.fault, in.inTurn = "each netlink message failing, with an error in turn", true
			in.every = labtest.Count(101, 1)
			if backendOf(t) == "iptables-nft" { // ten times as many
				in.every = labtest.Count(211, 1)
			}
		}
		neverAFalseDone(t, in)
	})
}

// neverAFalseDone goes to and fro between two policies, each time with one call that
// fails.
func neverAFalseDone(t *testing.T, in injection) {
	t.Helper()
	s := newSite(t, labtest.Host(t, "pbx"), "")
	s.program = built(t)
	policies := [2]string{
		"version: 1\nsignatures: {engine: off}\nproviders: [{name: acme, addresses: [203.0.113.0/24, 192.0.2.1]}]\n",
		"version: 1\nsignatures: {engine: off}\nmode: monitor\nproviders: [{name: acme, addresses: [203.0.113.7, 198.51.100.0/24]}]\nbans: {size: 100}\n",
	}
	if overIPTables(t) { // the types and the sizes of sets change there, and ports are in rules
		policies[0] += "unknown: {action: register}\n"
		policies[1] += "unknown: {action: register}\nroaming: {match: address}\nports: {udp: [5060, 5070]}\n"
	}
	var fences [2]string
	for i, policy := range policies {
		s.write(t, policy)
		s.must(t, 0, "apply")
		fences[i] = s.whole(t)
	}
	runs, now := 0, 1
	for i, errno := range in.errnos {
		step, at := in.every, (i+labtest.Part())%in.every
		if in.inTurn {
			step, at = in.every*len(in.errnos), i*in.every+labtest.Part()%in.every
		}
		for nth := at; ; nth += step {
			to := 1 - now
			s.write(t, policies[to])
			o, failed := s.injected(t, in.calls, in.of(s), nth, errno, "apply")
			what := fmt.Sprintf("apply, call %d fails with %s", nth, unix.ErrnoName(errno))
			statusAgrees(t, what, o, s.whole(t), fences[now], fences[to])
			s.must(t, 0, "apply")
			if diff := cmp.Diff(fences[to], s.whole(t)); diff != "" {
				t.Errorf("%s: after the next one the fence is another: %s", what, diff)
			}
			now = to
			if !failed {
				break
			}
			runs++
		}
	}
	labtest.Report(t, "P12", labtest.Over(in.fault, backendOf(t)), runs, "0 neither as before nor as desired, 0 false statuses")
}

// TestNeverAFalseDoneOfOthers does the same with the other commands that change a fence.
func TestNeverAFalseDoneOfOthers(t *testing.T) {
	t.Parallel()
	eachBackend(t, neverAFalseDoneOfOthers)
}

func neverAFalseDoneOfOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy+"signatures: {engine: off}\n")
	s.program = built(t)
	s.must(t, 0, "apply")
	first, second := s.whole(t), ""
	both := func() {
		for _, policy := range []string{staticPolicy, otherStatic} {
			s.write(t, policy+"signatures: {engine: off}\n")
			s.must(t, 0, "apply")
		}
		second = s.whole(t)
	}
	both()
	up, down := func() { s.must(t, 0, "up") }, func() { s.must(t, 0, "down") }
	down()
	none := s.whole(t)
	up()
	flush := func() { labtest.Run(t, s.host, "nft", "flush", "ruleset") }
	type move struct {
		command        string
		prepare        func()
		before, wanted string
	}
	moves := []move{{"down", up, second, none}, {"up", down, none, second}}
	every, errnos := labtest.Count(11, 1), []unix.Errno{unix.EPERM, unix.ENOBUFS, unix.EBUSY}
	if backendOf(t) == "nftables" {
		moves = append(moves, move{"refresh", func() { up(); flush() }, none, second}, move{"up", flush, none, second})
	} else { // the programs of iptables send more, those of iptables-nft very many
		every = labtest.Count(map[string]int{"iptables-legacy": 47, "iptables-nft": 199}[backendOf(t)], 1)
	}
	moves = append(moves, move{"rollback", both, second, first})
	runs := 0
	for _, move := range moves {
		for i, errno := range errnos {
			step, at := every, (i+labtest.Part())%every
			if backendOf(t) != "nftables" {
				step, at = every*len(errnos), i*every+labtest.Part()%every
			}
			for nth := at; ; nth += step {
				move.prepare()
				o, failed := s.injected(t, netlinkCalls, labtest.SystemCall.IsNetlink, nth, errno, move.command)
				what := fmt.Sprintf("%s, call %d fails with %s", move.command, nth, unix.ErrnoName(errno))
				statusAgrees(t, what, o, s.whole(t), move.before, move.wanted)
				if o.status == 1 {
					s.must(t, 0, move.command)
				}
				if diff := cmp.Diff(move.wanted, s.whole(t)); diff != "" {
					t.Errorf("%s: after the next one the fence is another: %s", what, diff)
				}
				if !failed {
					break
				}
				runs++
			}
		}
	}
	labtest.Report(t, "P12", labtest.Over("each netlink message of down, up, refresh, rollback failing", backendOf(t)), runs, "0 neither as before nor as desired, 0 false statuses")
}

// statusAgrees checks that a command's exit status says which fence there is: that of
// before, or that which is wanted.
func statusAgrees(t *testing.T, what string, o outcome, now, before, wanted string) {
	t.Helper()
	want := before
	if o.status == 0 || o.status == 4 {
		want = wanted
	}
	if diff := cmp.Diff(want, now); diff != "" {
		t.Errorf("%s: exit status %d, and the fence is another: %s\n%s%s", what, o.status, diff, o.stdout, o.stderr)
	}
	if o.status != 0 && o.status != 1 && o.status != 4 || o.status == 1 && !strings.Contains(o.stderr, "ringfence: error: ") {
		t.Errorf("%s: exit status %d\n%s%s", what, o.status, o.stdout, o.stderr)
	}
	for line := range strings.Lines(o.stderr) {
		if !strings.HasPrefix(line, "ringfence: ") || strings.Contains(line, "panic") {
			t.Errorf("%s: standard error has the line %q", what, line)
		}
	}
}

// fileCalls are about files, with the argument that says which.
var fileCalls = map[int]struct {
	argument int
	isPath   bool
}{
	unix.SYS_OPENAT: {1, true}, unix.SYS_MKDIRAT: {1, true}, unix.SYS_UNLINKAT: {1, true}, unix.SYS_RENAMEAT: {1, true},
	unix.SYS_FCHMODAT: {1, true}, unix.SYS_FCHMOD: {0, false}, unix.SYS_FSYNC: {0, false}, unix.SYS_READ: {0, false},
	unix.SYS_WRITE: {0, false}, unix.SYS_FLOCK: {0, false}, unix.SYS_GETDENTS64: {0, false},
}

// TestNeverAFalseDoneOnDisk lets each call about a file of ringfence's fail with each
// error of a disk that is full, broken or read-only, and of a process with too many
// files.
func TestNeverAFalseDoneOnDisk(t *testing.T) {
	t.Parallel()
	neverAFalseDone(t, injection{
		fault: "each call about a state file failing, with each error",
		calls: slices.Sorted(maps.Keys(fileCalls)), every: labtest.Count(13, 1),
		of: func(s *site) func(labtest.SystemCall) bool {
			return func(c labtest.SystemCall) bool {
				call := fileCalls[c.Number]
				path := c.File(call.argument, call.isPath)
				return strings.HasPrefix(path, s.state()) || strings.HasPrefix(path, s.runFolder())
			}
		},
		errnos: []unix.Errno{
			unix.ENOSPC, unix.EIO, unix.EROFS, unix.EACCES, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EDQUOT, unix.ENOLCK, unix.EINTR,
		},
	})
}
