package iptables_test

import (
	"testing"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/plan"
)

// TestTheSameHarmAgain: another program that does the same again, right after it was
// mended, is seen each time, although there is what was there at the look before.
func TestTheSameHarmAgain(t *testing.T) {
	bothFlavours(t, func(t *testing.T, h *lab.Namespace, f iptables.Flavour) {
		want := compiled(t, "providers: [{name: a, addresses: [192.0.2.1, 192.0.2.2]}]", hosts()["plain"])
		apply(t, h, f, want)
		for _, harm := range []string{
			"ipset flush ringfence-providers4", "ipset del ringfence-providers4 192.0.2.1; ipset add ringfence-providers4 192.0.2.9",
			string(f) + " -t raw -F PREROUTING",
		} {
			labtest.In(t, h, func() error {
				k := &iptables.Kernel{Flavour: f}
				touched, err := k.Watch(t.Context())
				if err != nil {
					return err
				}
				for range 4 {
					labtest.Run(t, h, "sh", "-ec", harm)
					for mended := false; !mended; {
						<-touched
						p, err := control.Controller{Kernel: k}.Sync(t.Context(), control.Desired{State: want}, func(*plan.Plan) error { return nil })
						if err != nil {
							return err
						}
						mended = !p.Empty() // a report of what was mended before comes late
					}
				}
				return nil
			})
		}
	})
}
