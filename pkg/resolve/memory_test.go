package resolve_test

import (
	"encoding/json"
	"net/netip"
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
