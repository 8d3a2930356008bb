package resolve_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// TestMemoryFromAFile: a file that people may have edited is looked at before
// anything is believed.
func TestMemoryFromAFile(t *testing.T) {
	for text, want := range map[string]string{
		`{"version": 1, "names": [{"name": "a", "addresses": [{"address": "192.0.2.1"}]}]}`: "",
		`null`:           "version 0 is none of 1 to 2",
		`{}`:             "version 0 is none of 1 to 2",
		`{"version": 3}`: "version 3 is none of 1 to 2",
		`{"version": 2, "names": [{"name": "a", "held": [{"address": "::ffff:192.0.2.1"}]}]}`:      `"::ffff:192.0.2.1" of a is not an address`,
		`{"version": 1, "names": [{"name": "a", "addresses": [{"address": ""}]}]}`:                 `"invalid IP" of a is not an address`,
		`{"version": 1, "names": [{"name": "a", "addresses": [{}]}]}`:                              `"invalid IP" of a is not an address`,
		`{"version": 1, "names": [{"name": "a", "addresses": [{"address": "fe80::1%eth0"}]}]}`:     `"fe80::1%eth0" of a is not an address`,
		`{"version": 1, "names": [{"name": "a", "addresses": [{"address": "::ffff:192.0.2.1"}]}]}`: `"::ffff:192.0.2.1" of a is not an address`,
		`{"version": 1, "names": [{"addresses": []}]}`:                                             "a name is empty",
	} {
		var m resolve.Memory
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := m.Check(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestMerge(t *testing.T) {
	known := func(name string, addresses ...string) resolve.Known {
		k := resolve.Known{Name: name}
		for _, a := range addresses {
			k.Addresses = append(k.Addresses, resolve.KnownAddress{Address: netip.MustParseAddr(a)})
		}
		return k
	}
	now := resolve.Memory{Names: []resolve.Known{known("a", "192.0.2.1"), known("b")}}
	kept := resolve.Memory{Names: []resolve.Known{known("a", "192.0.2.9"), known("b", "192.0.2.2"), known("c", "192.0.2.3")}}
	merged := now.Merge(kept)
	for name, want := range map[string]string{"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3"} {
		got := merged.Addresses(resolve.Target{Name: name})
		if len(got) != 1 || got[0].Address.String() != want {
			t.Errorf("%s has %v, want %s", name, got, want)
		}
	}
}

func TestMemorySurvivesJSON(t *testing.T) {
	l := newLearner(t)
	l.ask(0, two+"_sip._udp.sip.example SRV 10 a.net.\na.net A 192.0.2.7")
	l.ask(time.Hour, "sip.example A 192.0.2.1\nsip.example A 127.0.0.1")
	data, err := json.Marshal(l.memory)
	if err != nil {
		t.Fatal(err)
	}
	var back resolve.Memory
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(back)
	if diff := cmp.Diff(string(data), string(again)); diff != "" {
		t.Error(diff)
	}
}

// TestKeysOfOldFiles: what earlier versions wrote about addresses that wait for a
// second answer is read.
func TestKeysOfOldFiles(t *testing.T) {
	const file = `{"version": 2, "names": [{"name": "a", "held": [{"address": "192.0.2.1", "via": "A", "denied": true}]}]}`
	var m resolve.Memory
	if err := json.Unmarshal([]byte(file), &m); err != nil {
		t.Fatal(err)
	}
	q := m.Names[0].Quarantined
	if len(q) != 1 || q[0].Address != netip.MustParseAddr("192.0.2.1") || !q[0].Contradicted {
		t.Errorf("read %+v", q)
	}
}

// remembers has one name for each list of addresses, the first of each seen so many days
// after the start.
func remembers(names ...string) resolve.Memory {
	m := resolve.Memory{Version: 2}
	for i, text := range names {
		name, list, _ := strings.Cut(text, "=")
		k := resolve.Known{Name: strings.TrimPrefix(name, "host:"), Registrar: !strings.HasPrefix(name, "host:")}
		for a := range strings.FieldsSeq(list) {
			k.Addresses = append(k.Addresses, resolve.KnownAddress{Address: netip.MustParseAddr(a), Via: "A", LastSeen: start.Add(time.Duration(i) * day)})
		}
		m.Names = append(m.Names, k)
	}
	return m
}

func namesOf(m resolve.Memory) string {
	var names []string
	for _, k := range m.Names {
		names = append(names, k.Name)
	}
	return strings.Join(names, " ")
}

// TestPartsOfAMemory: what is known of some names, of all others, and of those seen lately;
// a name is a registrar or a host, and the memory itself stays as it is. An address that
// two names have is one address.
func TestPartsOfAMemory(t *testing.T) {
	m := remembers("a=192.0.2.1 192.0.2.2", "b=192.0.2.2 2001:db8::1", "host:a=192.0.2.9", "c=")
	some := []resolve.Target{{Name: "a", Registrar: true}, {Name: "c", Registrar: true}, {Name: "unknown"}}
	for name, part := range map[string]struct {
		memory resolve.Memory
		want   string
		count  int
	}{
		"all":             {m, "a b a c", 4},
		"some":            {m.Only(some), "a c", 2},
		"the others":      {m.Without(some), "b a", 3},
		"none":            {m.Only(nil), "", 0},
		"from the second": {m.SeenSince(start.Add(day)), "b a", 3},
		"from later":      {m.SeenSince(start.Add(9 * day)), "", 0},
	} {
		if got := namesOf(part.memory); got != part.want || part.memory.Count() != part.count {
			t.Errorf("%s: %q with %d addresses, want %q with %d", name, got, part.memory.Count(), part.want, part.count)
		}
		if part.memory.Names == nil {
			t.Errorf("%s: in JSON its names are null", name)
		}
	}
}

// TestSame: two memories are the same if nothing differs that has consequences; times have
// none.
func TestSame(t *testing.T) {
	whole := func() resolve.Memory {
		m := remembers("a=192.0.2.1", "b=192.0.2.2")
		m.Names[0].Rejected = []resolve.Rejected{{Address: netip.MustParseAddr("127.0.0.1"), Why: "is a loopback address"}}
		m.Names[0].Quarantined = []resolve.QuarantinedAddress{{Address: netip.MustParseAddr("192.0.2.7")}}
		m.Names[0].Questions = []resolve.KnownAnswer{{Name: "a", Type: resolve.A, Gone: 3}}
		m.Names[0].Cut = &resolve.KnownCut{Limits: []resolve.CutBy{resolve.CutByQuestions}, Since: start}
		return m
	}
	for name, change := range map[string]func(m *resolve.Memory){
		"nothing":                  func(*resolve.Memory) {},
		"when it was seen":         func(m *resolve.Memory) { m.Names[0].Addresses[0].LastSeen = start.Add(time.Hour) },
		"when it failed":           func(m *resolve.Memory) { m.Names[0].Questions[0].LastFailure = start },
		"since when it is limited": func(m *resolve.Memory) { m.Names[0].Cut.Since = start.Add(time.Hour) },
		"how often it was gone":    func(m *resolve.Memory) { m.Names[0].Questions[0].Gone = 9 },
	} {
		m := whole()
		change(&m)
		if !m.Same(whole()) || !whole().Same(m) {
			t.Errorf("another memory after a change of %s", name)
		}
	}
	for name, change := range map[string]func(m *resolve.Memory){
		"a name":         func(m *resolve.Memory) { m.Names = m.Names[:1] },
		"an address":     func(m *resolve.Memory) { m.Names[1].Addresses[0].Address = netip.MustParseAddr("192.0.2.3") },
		"a way":          func(m *resolve.Memory) { m.Names[1].Addresses[0].Via = "AAAA" },
		"missing":        func(m *resolve.Memory) { m.Names[1].Addresses[0].MissingSince = start },
		"an owner":       func(m *resolve.Memory) { m.Names[1].Owners = []string{"acme"} },
		"kept":           func(m *resolve.Memory) { m.Names[1].KeptSince = start },
		"a rejection":    func(m *resolve.Memory) { m.Names[0].Rejected = nil },
		"a quarantine":   func(m *resolve.Memory) { m.Names[0].Quarantined[0].Contradicted = true },
		"an error":       func(m *resolve.Memory) { m.Names[0].Questions[0].Error = "timeout" },
		"accepted":       func(m *resolve.Memory) { m.Names[0].Questions[0].Accepted = 200 },
		"gone for once":  func(m *resolve.Memory) { m.Names[0].Questions[0].Gone = 1 },
		"within a limit": func(m *resolve.Memory) { m.Names[0].Cut = nil },
	} {
		m := whole()
		change(&m)
		if m.Same(whole()) {
			t.Errorf("the same memory after a change of %s", name)
		}
	}
}

// TestNewerMemory: a file of a newer version is left alone, and those of this one and of
// the versions before are read.
func TestNewerMemory(t *testing.T) {
	for version, want := range map[int]bool{0: false, 1: false, 2: false, 3: true} {
		if got := (resolve.Memory{}).Newer(version); got != want {
			t.Errorf("version %d is newer: %t", version, got)
		}
	}
}
