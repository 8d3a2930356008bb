package cli_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// overIPTables reports whether a test runs over a flavour of iptables.
func overIPTables(t *testing.T) bool {
	t.Helper()
	b := backendOf(t)
	return b != "" && b != "nftables"
}

// judges reports whether chains of a program judge packets: they are led to, and what
// lets them run out has not.
func (s *site) judges(t *testing.T, program, family string) bool {
	t.Helper()
	rules := ""
	labtest.Until(t, "the rules can be listed, although they change", func() bool {
		listed, err := labtest.TryInput(t, s.host, "", program, "-t", "raw", "-S")
		rules = listed
		return err == nil
	})
	if !strings.Contains(rules, "-A PREROUTING -j RINGFENCE-") {
		return false
	}
	set := "ringfence-armed" + family
	if !strings.Contains(rules, set) {
		return true
	}
	// It may be confirmed, and the set gone, between both looks.
	listed, err := labtest.TryInput(t, s.host, "", "ipset", "list", set)
	return err == nil && strings.Count(listed, "/1 timeout ") == 2
}

// gone reports whether nothing of a fence is in the kernel.
func (s *site) gone(t *testing.T) bool {
	t.Helper()
	if !overIPTables(t) {
		return s.ruleset(t) == ""
	}
	// iptables-nft cannot list rules whose sets are about to go.
	rules, err := labtest.TryInput(t, s.host, "", backendOf(t), "-t", "raw", "-S")
	return err == nil && !strings.Contains(strings.ToLower(rules+labtest.Run(t, s.host, "ipset", "list")), "ringfence")
}

// runsOut reports whether the fence opens by itself, over iptables in at most this time.
func (s *site) runsOut(t *testing.T, in time.Duration) bool {
	t.Helper()
	if !overIPTables(t) {
		return runOut(s.ruleset(t))
	}
	listed, err := labtest.TryInput(t, s.host, "", "ipset", "list", "ringfence-armed4")
	if err != nil {
		return false
	}
	_, text, ok := strings.Cut(listed, "0.0.0.0/1 timeout ")
	if !ok {
		return false
	}
	seconds, err := strconv.Atoi(strings.Fields(text)[0])
	labtest.Must(t, err)
	return time.Duration(seconds)*time.Second <= in
}
