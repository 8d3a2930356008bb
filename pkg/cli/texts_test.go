package cli_test

import (
	"slices"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestTextsOverIPTables: for kernels without eBPF, iptables looks for scanners' texts
// anywhere in a packet: their senders are banned, others are heard, and status says what
// is not looked for.
func TestTextsOverIPTables(t *testing.T) {
	t.Parallel()
	for _, flavour := range backends[1:] {
		t.Run(flavour, func(t *testing.T) {
			w := newWorld(t)
			s := newSite(t, w.pbx, openPolicy+"signatures: {engine: string}\n")
			s.must(t, 0, "apply")
			v := s.recognised(t)
			if v.Engine != "string" || !textsKnown.MatchString(v.Why) || v.Drift {
				t.Errorf("status says engine %q, %q; drift %t", v.Engine, v.Why, v.Drift)
			}
			phone, phone4, phone6 := w.stranger(t, 1)
			scanner, scanner4, scanner6 := w.stranger(t, 2)
			arrived := s.counter(t, "allowed_unknown")
			for _, from := range []struct {
				host     *lab.Namespace
				address  string
				to       string
				agent    string
				provider bool
			}{
				{phone, phone4, pbx4, "Yealink SIP-T46", false},
				{phone, phone6, pbx6, "Yealink SIP-T46", false},
				{scanner, scanner4, pbx4, "a Friendly-Scanner of sorts", false},
				{scanner, scanner6, pbx6, "friendly-scanner", false},
				{w.provider, edge1, pbx4, "friendly-scanner", true},
			} {
				ask(t, from.host, from.address, from.to, "OPTIONS", from.agent)
			}
			labtest.Until(t, "all are judged", func() bool {
				return s.counter(t, "dropped_signature") == 2 && s.counter(t, "allowed_unknown") == arrived+2 && s.counter(t, "allowed_provider") == 1
			})
			if got := s.banned(t); !slices.Equal(got, []string{scanner4, scanner6}) {
				t.Errorf("banned are %v", got)
			}
			s.must(t, 0, "diff", "--full")
		})
	}
}
