// Package doctor names what a host lacks for a fence, or what works against it. It is
// pure: the facts are read elsewhere.
package doctor

import (
	"time"

	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// Facts are what is known of a host and of its fence. What is not known is left empty,
// and is no finding.
type Facts struct {
	Now time.Time
	// Backend is the name of the back end, "" for nftables.
	Backend string
	// Obstacle is why rules cannot be read or changed here, nil if they can.
	Obstacle error
	// Site is what the newest generation asks for, nil if there is none; Generation is
	// its number, and Made when it was made.
	Site       *site.Site
	Generation int
	Made       time.Time
	Down       bool // it was taken down on purpose
	Alarms     []site.Alarm
	// Attached are the interfaces whose packets the classifier reads, and NotAttached
	// says why the last one could not be.
	Attached    []string
	NotAttached []string
	// Silent are the name servers that do not answer, by their address.
	Silent map[string]string
	// Refreshed is when names were last asked for, zero for never.
	Refreshed time.Time
	User      int // whose process this is
	Condition host.Condition
	// LogReader is the program that receives the dropped packets in place of the daemon,
	// nil for none.
	LogReader *host.Program
	Others    ruleset.Others
	Network   host.Facts
}

// Finding is something that somebody should look after.
type Finding struct {
	Name string `json:"name"`
	// Finding says what it is, Why what it leads to, and WayOut what to do.
	Finding  string          `json:"finding"`
	Why      string          `json:"why"`
	Severity notice.Severity `json:"severity"`
	WayOut   string          `json:"way_out"`
}

// checks are all that is looked at, in the order in which it is shown. A new finding is
// a new function here.
var checks = []func(Facts) []Finding{
	obstacle, fence, alarms, classifier,
	before, after, flowtables, express, helpers, shapers, marks, equalCost,
	bothFlavours, savedRules,
	nameServers, clock, runners, logReader, stateFolder,
}

// Examine returns all findings, those that matter most first.
func Examine(f Facts) []Finding {
	all := []Finding{}
	for _, severity := range []notice.Severity{notice.Alarm, notice.Warning, notice.Note} {
		for _, check := range checks {
			for _, found := range check(f) {
				if found.Severity == severity {
					all = append(all, found)
				}
			}
		}
	}
	return all
}

// ports are the fenced ones.
func (f Facts) ports() []uint16 {
	if f.Site == nil {
		return []uint16{5060, 5061}
	}
	return append(append([]uint16{}, f.Site.Policy.Ports.UDP...), f.Site.Policy.Ports.TCP...)
}

// fences reports whether packets that come in by a link are judged.
func (f Facts) fences(link string) bool {
	return f.Site != nil && link != "lo" && f.Site.Policy.Fences(link)
}

// carries reports whether packets that are judged come in by a link first: by its bridge or
// bond, or by what stands on it, the rules see them later.
func (f Facts) carries(link string) bool {
	if f.Site == nil || f.fences(link) {
		return f.fences(link)
	}
	for _, i := range f.Site.Host.Interfaces {
		if i.Name == link && i.Master != "" && f.fences(i.Master) || i.Parent == link && f.fences(i.Name) {
			return true
		}
	}
	return false
}
