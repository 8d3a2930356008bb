// Package policy reads the policy file: who may reach the SIP ports, which
// ports and interfaces those are, and what happens to everybody else.
//
// NewDraft writes a first policy for a host that has none.
//
// Parse turns text into a Policy in which everything is checked, so that
// nothing behind it checks again, or into Mistakes, all of them at once, each
// with its place in the file and what to do about it. It touches neither files
// nor network: what a preset holds, and which engines and back ends this
// version has, comes from the caller.
package policy

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Policy is a checked policy file with its defaults filled in.
type Policy struct {
	Monitor    bool // count what would be dropped, and let it pass
	Backend    Backend
	Interfaces []string // fenced; none = every interface but lo; a trailing * makes a prefix
	Ports      Ports
	Providers  []Provider
	Trusted    Trusted
	Unknown    Unknown
	Signatures Signatures
	Bans       Bans
	DNS        DNS
}

// Backend is what holds the rules.
type Backend string

// The back ends. Auto is whichever works on this host.
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

// Provider is somebody whose servers may reach the SIP ports.
type Provider struct {
	Name       string
	Preset     string // the preset that it names, or ""
	Registrars []Registrar
	Addresses  []Address
}

// Registrar is a registrar, an outbound proxy or a SIP domain.
type Registrar struct {
	Text string // as written
	// Host is the name in ASCII and lower case, without the dot at its end; ""
	// for a literal address.
	Host string
	// Address is a literal address.
	Address netip.Addr
}

// Address is an address or prefix with where it was written.
type Address struct {
	netip.Prefix
	From string // "addresses", or the preset's name
}

// Trusted are phones and offices of one's own.
type Trusted struct {
	Hosts     []string // names; A and AAAA only
	Addresses []netip.Prefix
	// Asymmetric are prefixes that are never taken for forged, by whatever
	// interface their packets come in. They are not allowed by this alone.
	Asymmetric []netip.Prefix
}

// Unknown is what happens to a packet for a SIP port from anybody else.
type Unknown struct {
	Accept           bool
	AllowReplies     bool
	RequireUserAgent []string
}

// Engine is what recognises scanners in the kernel.
type Engine string

// The engines.
const (
	EngineAuto     Engine = "auto"
	EngineBPF      Engine = "bpf"
	EngineXTString Engine = "xt_string"
	EngineOff      Engine = "off"
)

// Signatures says by what scanners are recognised.
type Signatures struct {
	Engine  Engine
	Presets []string
	Deny    []Signature
	Except  []string
}

// Signature recognises a scanner by the value of one header.
type Signature struct {
	Name   string
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

// Bans says who is shut out by address.
type Bans struct {
	Duration  time.Duration // 0 = never ban by the packet path
	Size      uint32        // most addresses banned at once, per family
	Addresses []netip.Prefix
}

// DNS says how names are asked for and how long answers are kept.
type DNS struct {
	Servers    []netip.AddrPort // none = those of the host
	Min, Max   time.Duration    // a TTL is clamped to these
	Hold       time.Duration
	StaleAlarm time.Duration
}

// Fences reports whether packets that come in by the named interface are
// judged.
func (p *Policy) Fences(link string) bool {
	if len(p.Interfaces) == 0 {
		return link != loopback
	}
	return slices.ContainsFunc(p.Interfaces, func(pattern string) bool { return Matches(pattern, link) })
}

const loopback = "lo"

// Matches reports whether an entry of interfaces means the named interface.
func Matches(pattern, link string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(link, prefix)
	}
	return pattern == link
}

// Allowed are all prefixes that the policy itself lists as providers' or
// trusted, without what names give.
func (p *Policy) Allowed() []netip.Prefix {
	allowed := slices.Clone(p.Trusted.Addresses)
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

// Preset is what a shipped provider file gives.
type Preset struct {
	// Registrars are written as in a policy. {name} stands for the value of the
	// parameter of that name.
	Registrars []string
	Addresses  []netip.Prefix
	Parameters []Parameter
}

// Parameter is a part of a preset's registrars that only the customer knows. A
// policy that names the preset must give it a value.
type Parameter struct {
	Name    string `yaml:"name" json:"name"`
	Means   string `yaml:"means" json:"means"` // what it is, in a few words
	Example string `yaml:"example" json:"example"`
}

// Available is what this version and this host offer a policy.
type Available struct {
	Presets        map[string]Preset
	SignatureLists []string
	// Signatures are the names in those lists; nil is not known.
	Signatures []string
	Backends   []Backend
	Engines    []Engine
}
