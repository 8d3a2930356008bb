package classifier_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
	"golang.org/x/sys/unix"
)

func BenchmarkTmp(b *testing.B) {
	const end = `table inet end {
	chain prerouting { type filter hook prerouting priority 0; policy drop; }
}
`
	pbx, outside := labtest.Host(b, "x"), labtest.Host(b, "outside")
	labtest.Link(b,
		lab.End{Host: pbx, Interface: "eth0", Addresses: []string{"192.0.2.10/24"}},
		lab.End{Host: outside, Interface: "eth0", Addresses: []string{"192.0.2.200/24"}})
	labtest.Rules(b, pbx, end)
	change(b, pbx, loaded(b, signaturetest.Shipped()), "eth0")
	m := signaturetest.Svmap
	if os.Getenv("INVITE") != "" {
		m = signaturetest.Invite
	}
	source, err := outside.Send("192.0.2.200:0", fmt.Sprintf("192.0.2.10:%d", 5060), []byte(m))
	labtest.Must(b, err)
	runtime.LockOSThread()
	var one unix.CPUSet
	one.Set(1)
	labtest.Must(b, unix.SchedSetaffinity(0, &one))
	t := time.Now()
	for time.Since(t) < 5*time.Second {
		labtest.Must(b, source.Burst(2048))
	}
}
