package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Memory is what all answers so far have shown, and the content of the file
// addresses.json. NewMemory makes an empty one.
type Memory struct {
	Version int        `json:"version"`
	Names   []Known    `json:"names"`
	Lists   KnownLists `json:"lists,omitempty"`
	Refresh Refreshed  `json:"refresh"`
}

// memoryVersion is the version of the file that this code writes. It can also read
// version 1, which had no sources, no moments and no quarantined addresses.
const (
	memoryVersion = 2
	oldestVersion = 1
)

// NewMemory returns an empty memory.
func NewMemory() Memory {
	return Memory{Version: memoryVersion, Names: []Known{}, Refresh: Refreshed{Failures: []Problem{}}}
}

// Known is what is remembered about one name.
type Known struct {
	Name      string `json:"name"`
	Registrar bool   `json:"registrar"`
	// Owners are the parts of the policy that list the name.
	Owners []string `json:"owners,omitempty"`
	// Looked is when the name was last asked for, and Next is how long after that it
	// should be asked for again.
	Looked Moment `json:"looked,omitzero"`
	Next   Span   `json:"next,omitempty"`
	// Failures is how many lookups in a row had a question without an answer.
	Failures  int            `json:"failures,omitempty"`
	Addresses []KnownAddress `json:"addresses"`
	// Quarantined are addresses that wait for a second answer.
	Quarantined []QuarantinedAddress `json:"held,omitempty"`
	// Rejected are the rejected addresses of the last answers.
	Rejected []Rejected `json:"rejected,omitempty"`
	// KeptSince is since when addresses stay only because the name would have
	// none without them.
	KeptSince time.Time `json:"kept_since,omitzero"`
	// Cut says that a limit has cut something off in the last lookup.
	Cut       *KnownCut     `json:"cut,omitempty"`
	Questions []KnownAnswer `json:"questions"`
}

// KnownCut is what has kept a lookup from being whole, and since when.
type KnownCut struct {
	Limits []CutBy   `json:"limits"`
	Since  time.Time `json:"since"`
}

// Rejected is an address that an answer gave and that is not believed.
type Rejected struct {
	Address netip.Addr `json:"address"`
	Why     string     `json:"why"`
	// Times is in how many lookups in a row it was.
	Times int `json:"times,omitempty"`
}

func (r Rejected) String() string { return r.Address.String() + " " + r.Why }

// KnownAddress is an address behind a name.
type KnownAddress struct {
	Address   netip.Addr `json:"address"`
	Via       string     `json:"via"` // the chain of records, as Found has it
	TTL       int64      `json:"ttl"` // seconds
	FirstSeen time.Time  `json:"first_seen"`
	LastSeen  time.Time  `json:"last_seen"`
	// MissingSince is the time of the first good answer without the address; zero while
	// any answer has it.
	MissingSince time.Time `json:"missing_since,omitzero"`
	// Sources are the questions whose answers have the address, or had it until
	// recently. An address without sources is removed.
	Sources []Source `json:"sources"`
}

// Source is a question with an answer that has, or had, an address.
type Source struct {
	Question Question `json:"question"`
	// MissingSince is the time of the first good answer without the address, and
	// MissingFor the time that good answers have covered since.
	MissingSince time.Time `json:"missing_since,omitzero"`
	MissingFor   Span      `json:"missing_for,omitempty"`
	// UnheardFor is how long there has been no good answer, with or without the
	// address.
	UnheardFor Span `json:"unheard_for,omitempty"`
}

// QuarantinedAddress is an address from an answer of which nearly everything has
// changed, and that no other answer has confirmed.
type QuarantinedAddress struct {
	Address netip.Addr `json:"address"`
	Via     string     `json:"via"`
	Since   time.Time  `json:"since"`
	For     Span       `json:"for,omitempty"`
	// Contradicted says that another name server was asked, and that its answer has the
	// earlier addresses and not this one.
	Contradicted bool `json:"denied,omitempty"`
}

// KnownAnswer is what is remembered about one question.
type KnownAnswer struct {
	Name string `json:"name"`
	Type Type   `json:"type"`
	// From are the questions whose records led to this one.
	From []Question `json:"from,omitempty"`
	// LastGood is the time of the last answer with usable records, zero if there never
	// was one or if all its addresses were removed.
	LastGood    time.Time `json:"last_good,omitzero"`
	LastFailure time.Time `json:"last_failure,omitzero"`
	// Error says why there is no good answer now, Kind what kind of failure it is, and
	// Since how long it has lasted.
	Error string    `json:"error,omitempty"`
	Kind  Kind      `json:"kind,omitempty"`
	Since time.Time `json:"since,omitzero"`
	// Gone counts the answers in a row that say that nothing exists any more. GoneFor
	// is the time from the first to the last of them.
	Gone    int  `json:"gone,omitempty"`
	GoneFor Span `json:"gone_for,omitempty"`
	// Accepted is how many records in one answer the user has accepted, although they
	// are more than usual.
	Accepted int `json:"accepted,omitempty"`
}

func (a KnownAnswer) question() Question { return Question{a.Name, a.Type} }

// Refreshed is the last time that names were asked for, and what failed then.
type Refreshed struct {
	Time     time.Time `json:"time,omitzero"`
	OK       bool      `json:"ok"`
	Failures []Problem `json:"failures"`
}

// Problem is a name, or one question of it, that had no good answer.
type Problem struct {
	Name  string `json:"name"`
	Type  Type   `json:"type"`
	Error string `json:"error"`
	// Target is the name of the policy that the question belongs to.
	Target Target `json:"target"`
}

// Newer reports whether only newer programs read this version.
func (m Memory) Newer(version int) bool { return version > memoryVersion }

// Check says what makes a memory that was read from a file senseless.
func (m Memory) Check() error {
	if m.Version < oldestVersion || m.Version > memoryVersion {
		return fmt.Errorf("version %d is none of %d to %d", m.Version, oldestVersion, memoryVersion)
	}
	for _, k := range m.Names {
		if k.Name == "" {
			return errors.New("a name is empty")
		}
		for _, a := range k.Addresses {
			if err := checkAddress(k, a.Address); err != nil {
				return err
			}
		}
		for _, a := range k.Quarantined {
			if err := checkAddress(k, a.Address); err != nil {
				return err
			}
		}
	}
	for _, k := range m.Lists {
		if err := k.check(); err != nil {
			return err
		}
	}
	return nil
}

func checkAddress(k Known, a netip.Addr) error {
	if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
		return fmt.Errorf("%q of %s is not an address", a, k.Name)
	}
	return nil
}

// Filtered returns the memory without the addresses that the filter rejects: the filter
// depends on policy and host, and both change.
func (m Memory) Filtered(filter AddressFilter) Memory {
	filtered := m
	filtered.Names = slices.Clone(m.Names)
	for i, k := range filtered.Names {
		filtered.Names[i].Addresses = k.filtered(filter)
	}
	return filtered
}

// filtered returns the addresses of a name that are not rejected. The last address of a
// name is kept even if it has become the host's own.
func (k Known) filtered(filter AddressFilter) []KnownAddress {
	believed := func(s AddressFilter) []KnownAddress {
		return slices.DeleteFunc(slices.Clone(k.Addresses), func(a KnownAddress) bool { return s.rejectKnown(k, a) != "" })
	}
	if left := believed(filter); len(left) > 0 {
		return left
	}
	return believed(AddressFilter{Listed: filter.Listed})
}

// name returns what is known about a target.
func (m Memory) name(t Target) Known {
	for i := range m.Names { // by index, because entries are many and large
		if k := &m.Names[i]; k.Name == t.Name && k.Registrar == t.Registrar {
			return *k
		}
	}
	return Known{Name: t.Name, Registrar: t.Registrar}
}

// index finds what is known of each target.
func (m Memory) index() map[Target]*Known {
	index := make(map[Target]*Known, len(m.Names))
	for i := range m.Names {
		if t := m.Names[i].target(); index[t] == nil {
			index[t] = &m.Names[i]
		}
	}
	return index
}

// Index finds what a memory knows about names.
type Index map[Target]*Known

// Index returns an index of the memory, for who looks for many names.
func (m Memory) Index() Index { return m.index() }

// Addresses returns the known addresses of a target.
func (i Index) Addresses(t Target) []KnownAddress { return t.of(i).Addresses }

// of is what an index finds, or nothing yet.
func (t Target) of(index map[Target]*Known) Known {
	if k := index[t]; k != nil {
		return *k
	}
	return Known{Name: t.Name, Registrar: t.Registrar}
}

func (k Known) target() Target { return Target{k.Name, k.Registrar} }

// sources returns the sources of an address. If the file has none, the last step of its
// chain of records shows which question gave it.
func (k Known) sources(a KnownAddress) []Source {
	if len(a.Sources) > 0 {
		return a.Sources
	}
	steps := strings.Split(a.Via, chainArrow)
	name, kind, named := strings.Cut(steps[len(steps)-1], " ")
	if !named {
		name, kind = k.Name, name
	}
	return []Source{{Question: Question{name, Type(kind)}, MissingSince: a.MissingSince}}
}

// Addresses returns the known addresses of a target.
func (m Memory) Addresses(t Target) []KnownAddress { return m.name(t).Addresses }

// Find returns what is known about one address of a name.
func (m Memory) Find(name string, registrar bool, a netip.Addr) (KnownAddress, bool) {
	return m.name(Target{name, registrar}).address(a)
}

func (k Known) address(a netip.Addr) (KnownAddress, bool) {
	for _, known := range k.Addresses {
		if known.Address == a {
			return known, true
		}
	}
	return KnownAddress{}, false
}

// Count returns how many addresses all names have together. One that several names have
// is one address.
func (m Memory) Count() int {
	all := map[netip.Addr]struct{}{}
	for _, k := range m.Names {
		for _, a := range k.Addresses {
			all[a.Address] = struct{}{}
		}
	}
	return len(all)
}

// Merge returns m together with what other remembers about targets that are not in m.
func (m Memory) Merge(other Memory) Memory {
	merged := m
	merged.Version = memoryVersion
	merged.Names = slices.Clone(m.Names)
	places := make(map[Target]int, len(m.Names))
	for i, k := range m.Names {
		places[k.target()] = i
	}
	for _, k := range other.Names {
		i, known := places[k.target()]
		switch {
		case !known:
			places[k.target()] = len(merged.Names)
			merged.Names = append(merged.Names, k)
		case len(merged.Names[i].Addresses) == 0:
			merged.Names[i] = k
		}
	}
	merged.Lists = mergeLists(m.Lists, other.Lists)
	return merged
}

// Only returns what m remembers about the targets, and about lists. Without returns what
// it remembers about other targets, and about no list.
func (m Memory) Only(targets []Target) Memory { return m.where(targets, true) }

// Without is described at Only.
func (m Memory) Without(targets []Target) Memory {
	m.Lists = nil
	return m.where(targets, false)
}

func (m Memory) where(targets []Target, among bool) Memory {
	some := m
	some.Names = []Known{}
	listed := make(map[Target]bool, len(targets))
	for _, t := range targets {
		listed[t] = true
	}
	for _, k := range m.Names {
		if listed[k.target()] == among {
			some.Names = append(some.Names, k)
		}
	}
	return some
}

// SeenSince returns what m remembers about names with an address that was seen since
// then.
func (m Memory) SeenSince(then time.Time) Memory {
	some := m
	some.Names = []Known{}
	for _, k := range m.Names {
		if slices.ContainsFunc(k.Addresses, func(a KnownAddress) bool { return !a.LastSeen.Before(then) }) {
			some.Names = append(some.Names, k)
		}
	}
	return some
}

// Limit returns a function that says how many records the answer to a question may
// have. Names in accepted, of targets or of questions, have no limit.
func (m Memory) Limit(accepted []string) func(Target, Question) int {
	index := m.index()
	return func(t Target, q Question) int {
		if slices.Contains(accepted, t.Name) || slices.Contains(accepted, q.Name) {
			return anyNumber
		}
		limit := maxRecords
		for _, a := range t.of(index).Questions {
			if a.question() == q {
				limit = max(limit, a.Accepted)
			}
		}
		return limit
	}
}

// anyNumber is more records than fit into a message.
const anyNumber = 1 << 16
