package cli_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// walkZone has five registrars, each with addresses of its own, one of them
// shared.
func walkZone() string {
	var zone strings.Builder
	for i := range 5 {
		fmt.Fprintf(&zone, "_sip._udp.r%d.example. 60 IN SRV 10 50 5060 edge%d.example.\nedge%d.example. 60 IN A 203.0.113.%d\n"+
			"edge%d.example. 60 IN A 203.0.113.100\nedge%d.example. 60 IN AAAA 2001:db8::%d\n", i, i, i, i+1, i, i, i+1)
	}
	return zone.String()
}

// randomPolicy is one of very many.
func randomPolicy(r *rand.Rand) string {
	var p strings.Builder
	pick := func(texts ...string) string { return texts[r.IntN(len(texts))] }
	fmt.Fprintf(&p, "version: 1\nmode: %s\n", pick("enforce", "enforce", "monitor"))
	fmt.Fprintf(&p, "interfaces: %s\n", pick("[]", "[eth0]", "[eth0, 'ppp*']"))
	fmt.Fprintf(&p, "ports: {udp: [5060%s], tcp: %s}\n", pick("", ", 5061", ", 5080"), pick("[5060]", "[]", "[5061, 5070]"))
	fmt.Fprintf(&p, "unknown: {action: %s, allow_replies: %s}\n", pick("drop", "accept"), pick("true", "false"))
	fmt.Fprintf(&p, "bans: {size: %s, addresses: [198.51.100.%d/32]}\n", pick("65535", "100"), r.IntN(3))
	p.WriteString("dns: {servers: [127.0.0.1]}\nproviders:\n")
	for i := range 1 + r.IntN(3) {
		fmt.Fprintf(&p, "  - {name: p%d, registrars: [r%d.example], addresses: [192.0.2.%d/30]}\n", i, r.IntN(5), 4*r.IntN(64))
	}
	return p.String()
}

// dump is the fence as nft lists it, without what packets change, its parts
// sorted: nft lists them in the order in which they were made.
func dump(t testing.TB, h *lab.Namespace) string {
	t.Helper()
	parts := strings.Split(labtest.Run(t, h, "nft", "-s", "list", "ruleset"), "\n\t}\n")
	for i, p := range parts {
		parts[i] = strings.TrimPrefix(strings.TrimPrefix(p, "table inet ringfence {\n"), "\n")
	}
	slices.Sort(parts)
	return strings.Join(parts, "\n\t}\n")
}

// TestRandomWalk goes back and forth between policies: wherever it goes, the
// kernel holds what it held there before.
func TestRandomWalk(t *testing.T) {
	t.Parallel()
	eachBackend(t, testRandomWalk)
}

func testRandomWalk(t *testing.T) {
	t.Helper()
	t.Parallel()
	h := labtest.Host(t, "pbx")
	for _, link := range []string{"eth0", "ppp0"} {
		labtest.Run(t, h, "ip", "link", "add", link, "type", "bridge")
	}
	zone, err := lab.NewZone(walkZone())
	labtest.Must(t, err)
	server, err := h.ServeNames("127.0.0.1:53", zone)
	labtest.Must(t, err)
	defer server.Close()
	s := newSite(t, h, "")
	s.program = built(t)
	r := rand.New(rand.NewPCG(3, 3+uint64(labtest.Part())))
	dumps := map[int]string{}
	newest := 0
	rollbacks := 0
	steps := labtest.Count(40, 500)
	if backendOf(t) != "nftables" {
		steps = labtest.Count(10, 500)
	}
	for range steps {
		back := 0 // the generation that was gone back to
		if r.IntN(2) == 0 || newest == 0 {
			s.write(t, randomPolicy(r))
			newest = s.plan(t, 0, "apply").Generation
		} else {
			oldest := max(1, newest-49)
			to := oldest + r.IntN(newest-oldest+1)
			newest = s.plan(t, 0, "rollback", fmt.Sprint(to)).Generation
			rollbacks++
			back = to
		}
		now := s.whole(t)
		if back != 0 && dumps[back] != now {
			t.Fatalf("rollback to generation %d brings something else than was there: %s", back, cmp.Diff(dumps[back], now))
		}
		if then, known := dumps[newest]; known && then != now {
			t.Fatalf("generation %d is not what it was: %s", newest, cmp.Diff(then, now))
		}
		dumps[newest] = now
	}
	labtest.Report(t, "P5", labtest.Over("a random walk of applies and rollbacks", backendOf(t)), steps, "0 dumps differ, after %d rollbacks", rollbacks)
}

// TestKilledAnywhere kills apply and rollback at random moments. The table is
// the one before or the one after, the journal can be read, and the next
// command works.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	const hosts = 3
	for n := range hosts {
		t.Run(fmt.Sprintf("host %d", n+1), func(t *testing.T) {
			t.Parallel()
			killAnywhere(t, n, labtest.Count(20, 334))
		})
	}
	for _, b := range backends {
		t.Run(b, func(t *testing.T) {
			t.Parallel()
			killMatchAnywhere(t, labtest.Count(6, 100))
		})
	}
}

// killMatchAnywhere kills apply while it changes what phones are told apart by: over
// iptables that takes sets of another type. The next command ends the change, or goes back.
func killMatchAnywhere(t *testing.T, times int) {
	t.Helper()
	s := newSite(t, labtest.Host(t, "pbx"), "")
	s.program = built(t)
	policy := func(i int) string {
		return staticPolicy + "unknown: {action: register}\nroaming: {match: " + []string{"address", "address-port"}[i%2] + "}\n"
	}
	var took time.Duration
	for i := range 2 {
		s.write(t, policy(i))
		start := time.Now()
		s.must(t, 0, "apply")
		took = time.Since(start)
	}
	r := rand.New(rand.NewPCG(13, uint64(labtest.Part())))
	killed := 0
	for i := range times {
		s.write(t, policy(i))
		if o := s.stopped(t, os.Kill, time.Duration(r.Int64N(int64(took))), "apply"); o.status != 0 {
			killed++
		}
		next := []string{"apply", "refresh", "rollback"}[i%3]
		if o := s.run(t, next); o.status != 0 && !notApplied(o) {
			t.Fatalf("kill %d, and then %s: exit status %d\n%s%s", i, next, o.status, o.stdout, o.stderr)
		}
		if o := s.run(t, "refresh"); !strings.Contains(o.stdout, "nothing to do") {
			t.Fatalf("kill %d, and then %s: a refresh still finds something\n%s%s", i, next, o.stdout, o.stderr)
		}
		s.must(t, 0, "apply")
	}
	labtest.Report(t, "P11", labtest.Over("SIGKILL of an apply that changes roaming.match", backendOf(t)), killed, "each ended well")
}

func killAnywhere(t *testing.T, seed, times int) {
	t.Helper()
	h := labtest.Host(t, "pbx")
	s := newSite(t, h, "")
	s.program = built(t)
	policy := func(i int) string {
		return fmt.Sprintf("version: 1\nmode: %s\nproviders: [{name: acme, addresses: [203.0.113.%d]}]\n", []string{"enforce", "monitor"}[i%2], i%250)
	}
	s.write(t, policy(0))
	start := time.Now()
	s.must(t, 0, "apply")
	whole := time.Since(start)
	r := rand.New(rand.NewPCG(5, uint64(seed+labtest.Part()<<16)))
	outcomes := map[string]int{}
	before := dump(t, h)
	for i := range times {
		args := []string{"apply"}
		if i%3 == 2 {
			args = []string{"rollback"}
		} else {
			s.write(t, policy(i+1))
		}
		killed := s.stopped(t, os.Kill, time.Duration(r.Int64N(int64(whole))), args...)
		got := dump(t, h)

		history := s.must(t, 0, "history", "-o", "json")
		if strings.Contains(history.stdout, "damaged") {
			t.Fatalf("after a kill the journal is damaged: %s", history.stdout)
		}
		// A refresh brings nothing new: what is there is a generation, whole.
		if o := s.run(t, "refresh", "-o", "json"); o.status != 0 && !notApplied(o) || strings.Contains(o.stdout, `"changed": true`) {
			t.Fatalf("after %s was killed (exit status %d), refresh finds a table that is no generation:\n%s%s", args[0], killed.status, o.stdout, o.stderr)
		}
		switch {
		case killed.status == 0:
			outcomes["not killed"]++
			whole = max(whole*9/10, time.Millisecond) // an earlier one has taken longer than they do now
		case got == before:
			outcomes["as before"]++
			whole = whole * 21 / 20
		default:
			outcomes["as wanted"]++
		}
		s.must(t, 0, args...) // now it works
		before = dump(t, h)
		if args[0] == "apply" && !strings.Contains(before, fmt.Sprintf("203.0.113.%d", (i+1)%250)) {
			t.Fatal("the apply after a killed one did not do what it says")
		}
	}
	labtest.Report(t, "P11", "SIGKILL of apply and rollback at a random time", times, "0 half done, 0 damaged journals")
	t.Logf("after the kill: %v", outcomes)
	if left, _ := filepath.Glob(filepath.Join(s.state(), "journal", ".*")); len(left) > 1 {
		t.Errorf("killed runs have left %q", left)
	}
}

// TestManyAtOnce lets eight processes change the fence at the same time. Nobody
// waits for ever, every change gets its generation, and in the end the kernel
// holds one of them, whole.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	h := labtest.Host(t, "pbx")
	s := newSite(t, h, "version: 1\nproviders: [{name: acme, addresses: [203.0.113.0]}]\n")
	s.program = built(t)
	s.must(t, 0, "apply")
	s.write(t, "version: 1\nproviders: [{name: acme, addresses: [203.0.113.1]}]\n")
	s.must(t, 0, "apply")
	made := 2
	rounds := labtest.Count(10, 500)
	for round := range rounds {
		var mu sync.Mutex
		applied := map[int]string{} // policy by generation
		var group sync.WaitGroup
		for worker := range 8 {
			args := [][]string{{"apply"}, {"refresh"}, {"rollback"}, {"up"}, {"ban", "192.0.2.1"}}[(worker+round)%5]
			mine := &site{host: h, folder: t.TempDir(), shared: s, program: s.program}
			policy := fmt.Sprintf("version: 1\nproviders: [{name: acme, addresses: [198.51.%d.%d]}]\n", round%250, worker)
			mine.write(t, policy)
			group.Go(func() {
				o, err := mine.try(t, append(args, "-o", "json")...)
				if err != nil || o.status != 0 && !notApplied(o) {
					t.Errorf("%s among others: exit status %d, %v\n%s%s", args[0], o.status, err, o.stdout, o.stderr)
					return
				}
				var r report
				if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
					t.Errorf("%s among others: %v", args[0], err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				switch args[0] {
				case "apply":
					if other, taken := applied[r.Generation]; taken {
						t.Errorf("generation %d was given to two: %q and %q", r.Generation, other, policy)
					}
					applied[r.Generation] = policy
					made++
				case "rollback":
					made++
				}
			})
		}
		group.Wait()
		if t.Failed() {
			return
		}
		for n, policy := range applied {
			if got := s.policyOf(t, n); got != policy {
				t.Fatalf("generation %d holds %q, but was applied as %q", n, got, policy)
			}
		}
		newest := s.refreshed(t)
		if newest.Changed {
			t.Fatalf("the end state is no generation: %+v", newest.Changes)
		}
		if newest.Generation != made {
			t.Fatalf("%d generations were made, but the newest is %d: an update was lost", made, newest.Generation)
		}
		if o := s.must(t, 0, "diff", "--full", "--offline", "--policy", s.newestPolicy(t, newest.Generation)); !strings.Contains(o.stdout, "No changes.") {
			t.Fatalf("the kernel does not hold the newest generation: %s", o.stdout)
		}
	}
	labtest.Report(t, "P11", "8 programs at once: apply, refresh, rollback, up, ban", rounds, "0 lost updates, 0 deadlocks")
}

// policyOf is the policy of a generation.
func (s *site) policyOf(t *testing.T, n int) string {
	t.Helper()
	var g struct{ Policy string }
	labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, "history", fmt.Sprint(n), "-o", "json").stdout), &g))
	return g.Policy
}

// newestPolicy writes the policy of a generation to a file.
func (s *site) newestPolicy(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(s.folder, "newest.yaml")
	labtest.Must(t, os.WriteFile(path, []byte(s.policyOf(t, n)), 0o644))
	return path
}

var buildOnce = sync.OnceValues(func() (string, error) {
	wasBuilt.Store(true)
	folder, err := os.MkdirTemp("", "ringfence")
	if err != nil {
		return "", err
	}
	program := filepath.Join(folder, "ringfence")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "github.com/ringfence/ringfence/cmd/ringfence")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return program, nil
})

// wasBuilt says that there is something to remove in the end.
var wasBuilt atomic.Bool

// built builds the program as users have it, once.
func built(t testing.TB) string {
	t.Helper()
	program, err := buildOnce()
	labtest.Must(t, err)
	return program
}

// TestRollbackKnowsWhatWasLearned: a rollback needs neither a name server nor the
// policy file, and brings the addresses that were last known for its names, not
// those of the day when its generation was made.
func TestRollbackKnowsWhatWasLearned(t *testing.T) {
	t.Parallel()
	h := labtest.Host(t, "pbx")
	zone, err := lab.NewZone(walkZone())
	labtest.Must(t, err)
	server, err := h.ServeNames("127.0.0.1:53", zone)
	labtest.Must(t, err)
	policy := func(registrar string) string {
		return "version: 1\ndns: {servers: [127.0.0.1]}\nproviders: [{name: acme, registrars: [" + registrar + "]}]\n"
	}
	s := newSite(t, h, policy("r0.example"))
	s.must(t, 0, "apply")
	labtest.Must(t, zone.Set(strings.ReplaceAll(walkZone(), "203.0.113.1\n", "203.0.113.99\n")))
	s.must(t, 0, "refresh")
	s.write(t, policy("r1.example"))
	s.must(t, 0, "apply")
	s.must(t, 0, "refresh") // which does not forget what it does not need
	if strings.Contains(dump(t, h), "203.0.113.99") {
		t.Error("the addresses of a name that the policy no longer has did not leave at once")
	}
	labtest.Must(t, server.Close())
	labtest.Must(t, os.Remove(s.policyFile()))
	s.must(t, 0, "rollback")
	if !strings.Contains(dump(t, h), "203.0.113.99") {
		t.Errorf("rollback does not know where the registrar has moved to:\n%s", dump(t, h))
	}
	// Without the memory, what the generation was made with is the best there is.
	labtest.Must(t, os.Remove(filepath.Join(s.state(), "addresses.json")))
	s.must(t, 0, "rollback")
	s.must(t, 0, "rollback", "1")
	if !strings.Contains(dump(t, h), "203.0.113.1,") {
		t.Errorf("rollback without memory has no addresses:\n%s", dump(t, h))
	}
}
