package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gofrs/flock"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// manyAddresses is a policy that takes a while to apply.
func manyAddresses(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\nproviders:\n- name: acme\n  addresses:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - 20.%d.%d.%d\n", i/8192, i/32%256, i%32*8)
	}
	return b.String()
}

// TestRestoreDoesNotWait: the service puts the table back while another run holds the
// lock, in the middle of applying a large policy: that run goes on only after the table is
// back, and has the last word.
func TestRestoreDoesNotWait(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	s.must(t, 0, "apply")
	r := serve(t, s)
	for i := range labtest.Count(3, 30) {
		s.write(t, manyAddresses(5000+i))
		apply := s.command(t, "apply")
		var said bytes.Buffer
		apply.Stderr = &said
		labtest.Must(t, s.host.Start(apply))
		until(t, "the apply holds the lock, or has ended", func() bool {
			holder, _ := os.ReadFile(filepath.Join(s.runFolder(), "lock"))
			return string(holder) == fmt.Sprintf("pid %d, ringfence apply\n", apply.Process.Pid)
		})
		labtest.Must(t, apply.Process.Signal(syscall.SIGSTOP))
		other := flock.New(filepath.Join(s.runFolder(), "lock"))
		free, err := other.TryLock()
		labtest.Must(t, err)
		labtest.Must(t, other.Close())
		if free {
			t.Log("the apply had released the lock before it was stopped")
		}
		labtest.Run(t, s.host, "nft", "flush", "ruleset")
		r.until(t, "the table is back while the apply stands still", func() bool { return strings.Contains(fence(t, s), "chain prerouting") })
		labtest.Must(t, apply.Process.Signal(syscall.SIGCONT))
		if err := apply.Wait(); err != nil {
			t.Fatalf("apply: %v\n%s", err, said.String())
		}
		last := fmt.Sprintf("20.0.%d.%d", (5000+i-1)/32%256, (5000+i-1)%32*8)
		r.until(t, "the new policy is in force", func() bool { return strings.Contains(fence(t, s), last) })
		s.must(t, 0, "refresh")
		if d := s.must(t, 0, "diff", "--full"); !strings.Contains(d.stdout, "No changes") {
			t.Errorf("after that, diff says\n%s", d.stdout)
		}
	}
	r.end(t)
}
