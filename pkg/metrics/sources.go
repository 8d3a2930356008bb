package metrics

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
)

// sources are what the metrics are made of. What a status does not know has no metric: a
// missing one differs from zero.
var sources = []func(*list, *fence.Status){
	theFence,
	generation,
	packets,
	alarms,
	addresses,
	refresh,
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// theFence adds whether there is a fence, and what kind of one.
func theFence(l *list, s *fence.Status) {
	l.gauge("up", "Whether the fence is in force: packets of at least one interface are judged.", number(s.Fenced))
	l.gauge("drift", "How many differences there are between the kernel and what it should hold.", float64(s.Differences))
	l.gauge("backend_info", "The back end in use; the value is always 1.", 1, "backend", s.Backend.Name)
	l.gauge("engine_info", "What recognises scanners, bpf, string or off; the value is always 1.", 1, "engine", string(s.Engine))
	l.gauge("generation", "The newest generation, 0 if there is none.", float64(s.Generation))
	if s.Down != nil {
		l.gauge("down_timestamp_seconds", "When the fence was taken down; missing if it was not.", seconds(*s.Down))
	}
}

// generation adds what the newest generation is.
func generation(l *list, s *fence.Status) {
	if s.Generation == 0 {
		return
	}
	l.gauge("monitor", "Whether the mode is monitor: what would be dropped is counted, and passes.", number(s.Monitor))
	l.gauge("generation_timestamp_seconds", "When the newest generation was made.", seconds(s.Made))
	l.gauge("policy_changed", "Whether the policy file differs from that of the generation.", number(s.PolicyChanged))
	if s.Pending != nil {
		l.gauge("pending_deadline_timestamp_seconds", "When the generation is undone unless it is confirmed; missing if none waits.", seconds(s.Pending.Deadline))
	}
}

// packets adds the counters of the table and of the classifier.
func packets(l *list, s *fence.Status) {
	for _, name := range slices.Sorted(maps.Keys(s.Counters)) {
		n := s.Counters[name]
		verdict, reason, _ := strings.Cut(name, "_")
		switch {
		case name == "allowed_scanner":
			l.counter("allowed_scanner_packets_total", "Packets of allowed addresses that have what scanners send. They are counted as allowed too.", n)
		case name == "unseen":
			l.counter("unseen_packets_total", "Packets to a fenced port that the classifier did not see.", n)
		case name == "unread":
			l.counter("unread_packets_total", "Packets that the classifier has not read to the end.", n)
		case verdict == "allowed" || verdict == "dropped":
			l.counter("packets_total", "Packets to fenced ports by verdict and reason. In monitor mode the dropped ones have passed.",
				n, "verdict", verdict, "reason", reason)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Hits)) {
		l.counter("signature_packets_total", "Packets that have matched a signature.", s.Hits[name], "signature", name)
	}
}

// alarms adds one value for each alarm that stands.
func alarms(l *list, s *fence.Status) {
	type about struct{ kind, name string }
	standing := map[about]int{}
	for _, a := range s.Alarms {
		standing[about{string(a.Kind), a.Name}]++
	}
	for a, n := range standing {
		l.gauge("alarms", "How many alarms stand, by what they are about; none is missing.", float64(n), "kind", a.kind, "name", a.name)
	}
}

// addresses adds how many addresses are allowed, and banned.
func addresses(l *list, s *fence.Status) {
	if s.Table {
		l.gauge("banned_addresses", "Addresses that are banned for a time.", float64(s.Banned))
		l.gauge("dropped_sources", "Sources whose packets were dropped in the last day, or would be in monitor mode.", float64(s.Dropped))
		l.gauge("allowed_by_hand_addresses", "Addresses that are allowed by hand for a time.", float64(len(s.ByHand)))
	}
	if s.Phones != nil {
		l.gauge("registered_phones", "Phones that are let in because the PBX has accepted them; missing where none is let in for that.", float64(*s.Phones))
	}
	if s.Generation == 0 {
		return
	}
	for _, p := range s.Providers {
		of := families(p.Addresses)
		for _, family := range []string{"ipv4", "ipv6"} {
			l.gauge("provider_addresses", "Addresses and networks of a provider.", float64(of[family]), "provider", p.Name, "family", family)
		}
		if t := lastAnswer(p.Addresses); !t.IsZero() {
			l.gauge("provider_last_answer_timestamp_seconds",
				"When a provider's name had its last good answer; of several names, the one that had none for longest.", seconds(t), "provider", p.Name)
		}
	}
	of := families(s.Trusted)
	for _, family := range []string{"ipv4", "ipv6"} {
		l.gauge("trusted_addresses", "Addresses and networks that are trusted.", float64(of[family]), "family", family)
	}
	l.gauge("left_out_addresses", "Addresses of answers that are not allowed, or not yet.", float64(len(s.LeftOut)))
}

func families(list []fence.Address) map[string]int {
	of := map[string]int{}
	for _, a := range list {
		if a.Prefix.Addr().Is4() {
			of["ipv4"]++
		} else {
			of["ipv6"]++
		}
	}
	return of
}

// lastAnswer is when each name behind the addresses has had a good answer; zero if there
// is no name.
func lastAnswer(list []fence.Address) time.Time {
	names := map[string]time.Time{}
	for _, a := range list {
		if a.LastSeen != nil && a.LastSeen.After(names[a.From]) {
			names[a.From] = *a.LastSeen
		}
	}
	var oldest time.Time
	for _, t := range names {
		if oldest.IsZero() || t.Before(oldest) {
			oldest = t
		}
	}
	return oldest
}

// refresh adds how the last refresh went, if there was one.
func refresh(l *list, s *fence.Status) {
	if s.Generation == 0 {
		return
	}
	l.gauge("names", "Names that the policy asks name servers for.", float64(s.Names))
	if s.Names == 0 || s.Refresh.Time.IsZero() {
		return
	}
	l.gauge("refresh_timestamp_seconds", "When names were last asked for.", seconds(s.Refresh.Time))
	l.gauge("refresh_ok", "Whether the last refresh had a good answer to every question.", number(s.Refresh.OK))
	l.gauge("refresh_failures", "Questions of the last refresh that had no good answer.", float64(len(s.Refresh.Failures)))
}
