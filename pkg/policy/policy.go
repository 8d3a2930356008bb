// Package policy reads the policy file: who may reach the SIP ports, which ports and
// interfaces are fenced, and what happens to all other packets.
//
// NewDraft writes a first policy for a host that has none.
//
// Parse turns text into a Policy, or into all Mistakes at once, each with its place in
// the file and what to do about it. A Policy is fully checked, so that nothing needs to
// check it again. Parse touches neither files nor network: the caller says what the
// presets hold, and which engines and back ends this version has.
package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Policy is a checked policy file with its defaults filled in.
type Policy struct {
	Monitor    bool // count what would be dropped, and let it pass
	Backend    Backend
	Interfaces []string // the fenced ones; none = every interface but lo; a trailing * makes a prefix
	Ports      Ports
	Providers  []Provider
	Trusted    Trusted
	Unknown    Unknown
	Signatures Signatures
	Bans       Bans
	Guessing   Guessing
	Roaming    Roaming
	Events     Events
	DNS        DNS
	// Doubts are about what is valid but may not be meant.
	Doubts Mistakes
}

// Backend says what holds the rules.
type Backend string

// The back ends. Auto is any that works on this host.
const (
	BackendAuto     Backend = "auto"
	BackendNFTables Backend = "nftables"
	// The iptables back end, in the flavour of the host's program, and in a given one.
	BackendIPTables       Backend = "iptables"
	BackendIPTablesLegacy Backend = "iptables-legacy"
	BackendIPTablesNFT    Backend = "iptables-nft"
)

// Ports are the fenced ports, in the order of the file.
type Ports struct {
	UDP []uint16
	TCP []uint16 // also fenced for SCTP, DCCP and UDP-Lite
}

// Provider is a provider whose servers may reach the SIP ports.
type Provider struct {
	Name       string
	Preset     string // the preset that it names, or ""
	Registrars []Registrar
	Addresses  []Address
	List       *List            // of the preset, nil for none
	DNS        []netip.AddrPort // asked for this provider's names; none = DNS.Servers
}

// List is a list of addresses that a provider publishes.
type List struct {
	URL    string `yaml:"url" json:"url"`
	Format string `yaml:"format" json:"format"` // as pkg/feed reads it
}

// Registrar is a registrar, an outbound proxy or a SIP domain.
type Registrar struct {
	Text string // as written
	// Host is the name in ASCII and lower case, without a final dot; "" for a literal
	// address.
	Host string
	// Address is a literal address.
	Address netip.Addr
}

// Address is an address or prefix with its source.
type Address struct {
	netip.Prefix
	From string // "addresses", or the preset's name
}

// Trusted are the site's own phones and offices.
type Trusted struct {
	Hosts     []string // names; A and AAAA only
	Addresses []netip.Prefix
	// Interfaces are those by which only one's own comes in, whatever its address. They
	// are written as those to fence are.
	Interfaces []string
	// Asymmetric are prefixes that are never taken for forged, by whatever
	// interface their packets come in. They are not allowed by this alone.
	Asymmetric []netip.Prefix
}

// Engine says what recognises scanners in the kernel.
type Engine string

// The engines.
const (
	EngineAuto Engine = "auto"
	EngineBPF  Engine = "bpf"
	EngineOff  Engine = "off"
	// EngineString looks for texts anywhere in a packet, by iptables.
	EngineString Engine = "string"
)

// Signatures says how scanners are recognised.
type Signatures struct {
	Engine  Engine
	Presets []string
	Deny    []Signature
	Except  []string
	// Mark are the four bits of a packet's mark, next to each other, in which the
	// classifier says what it has found.
	Mark uint32
	// Texts are what EngineString looks for. Who knows the lists sets them.
	Texts []string
}

// Signature recognises a scanner by the value of a header, or of several.
type Signature struct {
	Name string
	// Conditions are one, or several that must all be true.
	Conditions []Condition
}

// Condition is what a signature wants of a header.
type Condition struct {
	Header string // in lower case
	Match  Match
	Value  string
}

// Match is how a signature's value is compared, always without regard to case.
type Match string

// The ways to match.
const (
	Contains Match = "contains"
	Prefix   Match = "prefix"
	Exact    Match = "exact"
)

// Bans says which addresses are blocked, and for how long.
type Bans struct {
	Duration  time.Duration // 0 = the rules never ban
	Size      uint32        // most addresses banned at once, per family
	Addresses []netip.Prefix
}

// Events says for how long the daemon keeps who was dropped, and what he sent.
type Events struct {
	Keep time.Duration // 0 = nothing is reported, and nothing kept
}

// DNS says which servers are asked for names and how long answers are kept.
type DNS struct {
	Servers    []netip.AddrPort // none = those of the host
	Min, Max   time.Duration    // the limits of a TTL
	Hold       time.Duration
	StaleAlarm time.Duration
}

// Fences reports whether packets that come in by the named interface are judged.
func (p *Policy) Fences(link string) bool {
	if len(p.Interfaces) == 0 {
		return link != loopback
	}
	return slices.ContainsFunc(p.Interfaces, func(pattern string) bool { return Matches(pattern, link) })
}

// Trusts reports whether whatever comes in by the named interface is let in.
func (p *Policy) Trusts(link string) bool {
	return slices.ContainsFunc(p.Trusted.Interfaces, func(pattern string) bool { return Matches(pattern, link) })
}

const loopback = "lo"

// Matches reports whether an entry of interfaces matches the named interface.
func Matches(pattern, link string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(link, prefix)
	}
	return pattern == link
}

// Allowed returns all prefixes that the policy itself lists for providers or as
// trusted, without those that names lead to.
func (p *Policy) Allowed() []netip.Prefix {
	most := len(p.Trusted.Addresses)
	for _, provider := range p.Providers {
		most += len(provider.Addresses) + len(provider.Registrars)
	}
	allowed := append(make([]netip.Prefix, 0, most), p.Trusted.Addresses...)
	for _, provider := range p.Providers {
		for _, a := range provider.Addresses {
			allowed = append(allowed, a.Prefix)
		}
		for _, r := range provider.Registrars {
			if r.Address.IsValid() {
				allowed = append(allowed, netip.PrefixFrom(r.Address, r.Address.BitLen()))
			}
		}
	}
	return allowed
}

// Preset is what a shipped provider file contains.
type Preset struct {
	// Registrars are written as in a policy. {name} is replaced by the value of the
	// parameter of that name.
	Registrars []string
	Addresses  []netip.Prefix
	List       *List
	Parameters []Parameter
}

// Parameter is a part of a preset's registrars that only the customer knows. A policy
// that uses the preset must give it a value.
type Parameter struct {
	Name    string `yaml:"name" json:"name"`
	Means   string `yaml:"means" json:"means"` // what it is, in a few words
	Example string `yaml:"example" json:"example"`
}

// Available is what this version and this host offer to a policy.
type Available struct {
	Presets        Presets // nil = none
	SignatureLists []string
	// Signatures are the names in those lists; nil = not known.
	Signatures []string
	Backends   []Backend
	Engines    []Engine
}

// Presets are what a policy can name as presets. Only those that it names are read.
type Presets interface {
	Names() []string
	// Preset returns one of them. The error is not about the policy.
	Preset(name string) (Preset, error)
}

// PresetMap are presets that have been read already.
type PresetMap map[string]Preset

// Names returns the names, sorted.
func (m PresetMap) Names() []string { return slices.Sorted(maps.Keys(m)) }

// Preset returns a preset by its name.
func (m PresetMap) Preset(name string) (Preset, error) { return m[name], nil }
