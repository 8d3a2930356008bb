package iptables_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan"
)

// changeAndDie is a process that brings a host to a state and is killed before its nth
// call that changes something. Its arguments are the flavour, n, the host and the policy.
func changeAndDie() int {
	err := func() error {
		if len(os.Args) != 5 {
			return errors.New("want a flavour, a number, a host and a policy")
		}
		n, err := strconv.Atoi(os.Args[2])
		if err != nil {
			return err
		}
		want, err := stateOf(os.Args[4], hosts()[os.Args[3]])
		if err != nil {
			return err
		}
		//nolint:forbidigo // it is a process of its own
		ctx, k := context.Background(), iptables.Killed(iptables.Flavour(os.Args[1]), n)
		have, err := k.Observe(ctx)
		if err != nil {
			return err
		}
		return k.Commit(ctx, plan.Diff(have, want))
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// fences let the provider of a flood in and nobody else. Between them, tables, chains,
// ports, sets and the sizes of sets change.
var fences = []struct{ host, policy string }{
	{"plain", "providers: [{name: a, addresses: [192.0.2.100, '2001:db8::100']}]"},
	{"router", "interfaces: [eth0]\nproviders: [{name: a, addresses: [192.0.2.96/28, '2001:db8::100/120']}]\nbans: {size: 9}\n" +
		"unknown: {allow_replies: true}\ntrusted: {addresses: [10.0.0.0/8], asymmetric: [10.1.0.0/16]}\nports: {udp: [5060, 5070]}"},
}

// TestSIGKILL kills the process of a change before each of its calls, and at random
// moments, while a provider and a stranger send: a fence stands all the time, and the
// next run ends the change.
func TestSIGKILL(t *testing.T) {
	for _, f := range []iptables.Flavour{iptables.Legacy, iptables.NFT} {
		t.Run(string(f), func(t *testing.T) {
			flood := labtest.NewFlood(t)
			apply(t, flood.PBX, f, compiled(t, fences[0].policy, hosts()[fences[0].host]))
			kills, random := 0, 0
			result := flood.During(t, func() {
				apart := labtest.Count(4, 1)
				for next, n := 1, 0; kills < labtest.Count(8, 150); next, n = 1-next, n+apart {
					if killedAt(t, flood.PBX, f, next, n) {
						kills++
					} else {
						n = 0 // the change has fewer calls
					}
				}
				for ; random < labtest.Count(4, 50); random++ {
					killedAfter(t, flood.PBX, f, random%2, time.Duration(rand.Int64N(int64(400*time.Millisecond))))
				}
			})
			t.Logf("%d kills before a call, %d at a random moment, %d packets of each: %d of the provider's lost, %d of the stranger's arrived",
				kills, random, result.Sent, result.Lost, result.Leaked)
			labtest.Report(t, "P2", labtest.Over("SIGKILL of a change", string(f)), kills+random, "%d leaked, %d lost, of %d packets each", result.Leaked, result.Lost, result.Sent)
			if result.Lost != 0 || result.Leaked != 0 {
				t.Error("there was a gap")
			}
		})
	}
}

// killedAt starts a change that is killed before a call, and ends it. It reports whether
// it was killed.
func killedAt(t *testing.T, h *lab.Namespace, f iptables.Flavour, next, n int) bool {
	t.Helper()
	cmd := labtest.Program(t, "change", string(f), strconv.Itoa(n), fences[next].host, fences[next].policy)
	labtest.Must(t, h.Start(cmd))
	err := cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err != nil && status.Signal() != syscall.SIGKILL {
		t.Fatalf("the change ends with %v", err)
	}
	end(t, h, f, next, fmt.Sprintf("killed before call %d", n))
	return err != nil
}

// killedAfter starts a change and kills it, but not what it has started itself, after a
// time.
func killedAfter(t *testing.T, h *lab.Namespace, f iptables.Flavour, next int, after time.Duration) {
	t.Helper()
	cmd := labtest.Program(t, "change", string(f), "1000", fences[next].host, fences[next].policy)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	labtest.Must(t, h.Start(cmd))
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		if _, is := errors.AsType[*exec.ExitError](err); !is {
			t.Fatal(err)
		}
	}
	labtest.Until(t, "what it has started has ended", func() bool { return syscall.Kill(-cmd.Process.Pid, 0) != nil })
	end(t, h, f, next, fmt.Sprintf("killed after %s", after))
}

// end looks whether a fence stands, and ends a change.
func end(t *testing.T, h *lab.Namespace, f iptables.Flavour, next int, what string) {
	t.Helper()
	want := compiled(t, fences[next].policy, hosts()[fences[next].host])
	if p := difference(t, h, f, want); !p.Have.Exists {
		t.Fatalf("%s: no fence stands", what)
	}
	apply(t, h, f, want)
	if p := difference(t, h, f, want); !p.Empty() {
		t.Fatalf("%s: the next apply leaves %+v", what, p.Changes)
	}
}
