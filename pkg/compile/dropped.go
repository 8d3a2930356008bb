package compile

import (
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// What is kept of the sources whose packets were dropped, or would be in monitor mode.
const (
	// mostDropped is how many of a family are kept at once.
	mostDropped = 65535
	// mostLogged is how many packets for one reason are reported in logEvery: one for each
	// source.
	mostLogged = 8192
	logEvery   = time.Minute
)

// The beginnings of names: of the counters for what is dropped, of the chains that drop
// it, and of the sets of sources that were reported lately.
const (
	droppedCounter = "dropped_"
	dropChain      = "drop_"
	logSet         = "log_"
)

// scannerCounter is the counter for what the classifier has recognised.
const scannerCounter = droppedCounter + "signature"

// drop judges what is to be dropped for the counter's reason: it keeps the source, reports
// the packet, and drops it. Each is a rule of its own, because a rule whose set is full
// ends there, and the packet is dropped all the same.
func (f family) drop(counter string) {
	record := ruleset.Record{V6: f.v6, Set: f.set("dropped"), For: ruleset.KeptFor}
	end := []ruleset.Statement{ruleset.Count(counter), f.verdict(counter)}
	if f.policy.Events.Keep == 0 {
		f.rule(record)
		f.rule(end...)
		return
	}
	reason := strings.TrimPrefix(counter, droppedCounter)
	lately := ruleset.Source{V6: f.v6, Set: logSet + f.set(reason)}
	// Most packets come from sources that were reported lately. They end here, where to
	// look a source up in its set is to count the packet there: that costs less than to
	// start the source's time again.
	f.rule(slices.Concat([]ruleset.Statement{lately, ruleset.Source{V6: f.v6, Set: record.Set}}, end)...)
	f.rule(record)
	f.rule(slices.Concat([]ruleset.Statement{lately}, end)...)
	// What has no room in the set is not in it afterwards, and not reported.
	f.rule(ruleset.Note{V6: f.v6, Set: lately.Set, For: logEvery})
	if counter == scannerCounter {
		// Where nobody receives what is reported, this alone says who is a scanner.
		f.rule(ruleset.Note{V6: f.v6, Set: f.set(ruleset.Scanners), For: ruleset.KeptFor})
	}
	f.rule(lately, ruleset.Log(reason))
	f.rule(end...)
}

// dropIn returns the verdict for what is to be dropped for the counter's reason if it
// matches: a chain of its own judges it.
func (f family) dropIn(counter string) ruleset.Verdict {
	f.chain = dropChain + f.set(strings.TrimPrefix(counter, droppedCounter))
	if _, there := f.chains[f.chain]; !there {
		f.drop(counter)
	}
	return ruleset.Verdict{Kind: ruleset.Goto, Chain: f.chain}
}

// dropSets are the sets that the rules of drop use.
func dropSets(chains map[string]ruleset.Chain) map[string]ruleset.Set {
	set := func(v6 bool, size uint32) ruleset.Set {
		key := ruleset.IPv4
		if v6 {
			key = ruleset.IPv6
		}
		return ruleset.Set{Key: key, Timeout: true, Dynamic: true, Size: size}
	}
	sets := map[string]ruleset.Set{"dropped4": set(false, mostDropped), "dropped6": set(true, mostDropped)}
	for _, c := range chains {
		for _, r := range c.Rules {
			if note, ok := r.Statements()[0].(ruleset.Note); ok {
				size := uint32(mostLogged)
				if note.For == ruleset.KeptFor {
					size = mostDropped
				}
				sets[note.Set] = set(note.V6, size)
			}
		}
	}
	return sets
}
