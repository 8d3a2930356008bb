package cli

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestWhyAfterEvents: why says what the daemon has kept of the address, escaped, and
// nothing of others.
func TestWhyAfterEvents(t *testing.T) {
	m := newInMemory(t)
	labtest.Must(t, os.WriteFile(filepath.Join(m.folder, "policy.yaml"), []byte("version: 1\nproviders: [{name: acme, addresses: [203.0.113.5]}]\n"), 0o600))
	if status, out, errs := m.run(t.Context(), "apply"); status != 0 {
		t.Fatal(out, errs)
	}
	now := time.Now()
	var tally events.Tally
	for i, d := range []events.Drop{
		{Source: netip.MustParseAddr("198.51.100.7"), Method: "REGISTER", UserAgent: "Yealink\x1b[31m SIP", Called: "201"},
		{Source: netip.MustParseAddr("198.51.100.7"), Method: "REGISTER", UserAgent: "Yealink\x1b[31m SIP", Called: "201"},
		{Source: netip.MustParseAddr("198.51.100.8"), Method: "OPTIONS", UserAgent: "friendly-scanner", Signature: "friendly-scanner"},
	} {
		d.Time, d.Port, d.Protocol, d.Reason = now.Add(time.Duration(i-70)*time.Minute), 5060, "udp", "unknown"
		tally.Add(d)
	}
	store := &events.Store{Path: filepath.Join(m.folder, "state", "events.db"), Keep: time.Hour * 1000}
	_, err := store.Write(&tally, now)
	labtest.Must(t, err)
	for address, want := range map[string]string{
		"198.51.100.7": `last 1 h ago, REGISTER of 201 by Yealink\x1b[31m SIP: a remote phone? ringfence allow 198.51.100.7 --for 2h, or add it to trusted.addresses`,
		"198.51.100.8": "OPTIONS by friendly-scanner (friendly-scanner): a scanner, nothing to do",
		"198.51.100.9": "dropped: unknown: if it is yours",
	} {
		if _, out, errs := m.run(t.Context(), "why", address); !strings.Contains(out, want) || errs != "" {
			t.Errorf("why %s:\n%s%s\nwant %s", address, out, errs, want)
		}
	}
	if _, out, _ := m.run(t.Context(), "why", "198.51.100.7"); !strings.HasPrefix(out, "dropped: unknown; 2 packets since ") {
		t.Error(out)
	}
}
