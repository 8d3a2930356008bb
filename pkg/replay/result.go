package replay

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// Result is what a table would have done with the packets of a capture.
type Result struct {
	Packets, SIP, Untold int
	First, Last          time.Time
	Own                  []netip.Addr // the addresses that were taken for this side's
	Sources              []Source
}

// Source is what came from one address to this side's fenced ports.
type Source struct {
	Address           netip.Addr
	Packets, Dropped  int
	First, Last       time.Time
	Methods           []string
	UserAgent, Called string
	Signature         string
	Bans              bool // it would be banned for one of its packets
	// Answer is about the kind of packet of which most would be dropped, or else most would
	// pass.
	Answer site.Answer
	// Got are the good answers of this side, Gave those that it gave to this side.
	Got, Gave Good
}

// Silenced reports whether the source got good answers, or gave them, and would not reach
// this side any more.
func (s Source) Silenced() bool {
	return s.Dropped > 0 && 2*s.Dropped >= s.Packets && (s.Got.Any() || s.Gave.Any())
}

// Result judges what was added. own are the addresses of this side, as far as they are
// known.
func (t *Tally) Result(why func(site.Question) (site.Answer, error), own []netip.Addr) (Result, error) {
	r := Result{Packets: t.Packets, SIP: t.SIP, Untold: t.Untold, First: t.First, Last: t.Last, Own: t.own(own)}
	sources := map[netip.Addr]*Source{}
	judged := map[netip.Addr]int{} // of the kind that Answer is about, by its packets
	for _, f := range t.inOrder() {
		s := t.flows[f]
		if !slices.Contains(r.Own, f.destination) || slices.Contains(r.Own, f.source) {
			continue
		}
		a, err := why(site.Question{
			Address: f.source, Protocol: f.protocol, Port: f.port,
			Packet: &site.Seen{Class: f.class, Signature: f.signature, Shape: f.shape, Message: s.message, Registered: f.registered},
		})
		if err != nil {
			return r, err
		}
		of := sources[f.source]
		if of == nil {
			of = &Source{Address: f.source, First: s.first, Answer: a, Signature: f.signature}
			sources[f.source] = of
		}
		dropped := !a.Allowed || a.WouldDrop
		weight := s.packets
		if dropped {
			of.Dropped += s.packets
			weight += mostPackets
		}
		if weight > judged[f.source] {
			judged[f.source], of.Answer = weight, a
		}
		of.Bans = of.Bans || len(a.Bans) > 0
		of.add(f, s)
	}
	t.answers(r.Own, sources)
	for _, s := range sources {
		if s.Silenced() {
			about, err := why(site.Question{Address: s.Address})
			if err != nil {
				return r, err
			}
			s.Answer.Preset, s.Answer.Provider = about.Preset, about.Provider
		}
		r.Sources = append(r.Sources, *s)
	}
	slices.SortFunc(r.Sources, func(a, b Source) int {
		rank := func(s Source) int {
			switch {
			case s.Silenced():
				return 0
			case s.Dropped > 0:
				return 1
			}
			return 2
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.Packets, a.Packets), a.Address.Compare(b.Address))
	})
	return r, nil
}

// inOrder are the flows in the order in which they began.
func (t *Tally) inOrder() []flow {
	return slices.SortedFunc(maps.Keys(t.flows), func(a, b flow) int {
		return cmp.Or(t.flows[a].first.Compare(t.flows[b].first), a.source.Compare(b.source), cmp.Compare(a.port, b.port),
			cmp.Compare(a.class, b.class), cmp.Compare(a.signature, b.signature))
	})
}

// mostPackets is more than a capture has.
const mostPackets = 1 << 30

func (s *Source) add(f flow, of *sent) {
	s.Packets += of.packets
	if of.first.Before(s.First) {
		s.First = of.first
	}
	if of.last.After(s.Last) {
		s.Last = of.last
	}
	for _, m := range of.methods {
		if !slices.Contains(s.Methods, m) && len(s.Methods) < mostMethods {
			s.Methods = append(s.Methods, m)
		}
	}
	slices.Sort(s.Methods)
	s.UserAgent, s.Called = cmp.Or(s.UserAgent, of.userAgent), cmp.Or(s.Called, of.called)
	s.Signature = cmp.Or(s.Signature, f.signature)
}

// answers notes who got good answers, and who gave them.
func (t *Tally) answers(own []netip.Addr, sources map[netip.Addr]*Source) {
	for p, good := range t.good {
		if s := sources[p.to]; s != nil && slices.Contains(own, p.from) {
			s.Got = s.Got.And(good)
		}
		if s := sources[p.from]; s != nil && slices.Contains(own, p.to) {
			s.Gave = s.Gave.And(good)
			s.UserAgent = cmp.Or(s.UserAgent, good.Agent)
		}
	}
}

// own returns those of the known addresses that occur. If none does, it is, of each
// family, the address that has to do with most others: the one that they all send to.
func (t *Tally) own(known []netip.Addr) []netip.Addr {
	peers := map[netip.Addr]map[netip.Addr]bool{}
	received := map[netip.Addr]int{}
	meet := func(a, b netip.Addr) {
		if peers[a] == nil {
			peers[a] = map[netip.Addr]bool{}
		}
		peers[a][b] = true
	}
	for f, s := range t.flows {
		meet(f.source, f.destination)
		meet(f.destination, f.source)
		received[f.destination] += s.packets
	}
	var own []netip.Addr
	for _, a := range known {
		if a = a.Unmap(); peers[a] != nil && !slices.Contains(own, a) {
			own = append(own, a)
		}
	}
	if len(own) > 0 {
		return own
	}
	for _, is6 := range []bool{false, true} {
		var best netip.Addr
		for a, of := range peers {
			if a.Is6() == is6 && received[a] > 0 && (!best.IsValid() || cmp.Or(
				cmp.Compare(len(of), len(peers[best])), cmp.Compare(received[a], received[best]), best.Compare(a)) > 0) {
				best = a
			}
		}
		if best.IsValid() {
			own = append(own, best)
		}
	}
	return own
}

// Proposal is what a policy lacks for the sources that it would silence.
type Proposal struct {
	Phones  []netip.Addr
	Servers []Servers
}

// Servers are those of one provider.
type Servers struct {
	Provider string // of the policy, or of the preset if Preset is set; "" for an unknown one
	Preset   bool
	List     []netip.Addr
}

// Propose sorts the silenced sources by what would let them in: phones are those whose
// registrations were accepted, servers of providers all others.
func (r Result) Propose() Proposal {
	var p Proposal
	for _, s := range r.Sources {
		switch {
		case !s.Silenced():
		case s.Got.Registered && s.Answer.Preset == "" && s.Answer.Provider == "":
			p.Phones = append(p.Phones, s.Address)
		case s.Answer.Preset != "":
			p.add(s.Answer.Preset, true, s.Address)
		default:
			p.add(s.Answer.Provider, false, s.Address)
		}
	}
	slices.SortFunc(p.Phones, netip.Addr.Compare)
	for _, of := range p.Servers {
		slices.SortFunc(of.List, netip.Addr.Compare)
	}
	slices.SortFunc(p.Servers, func(a, b Servers) int { return cmp.Compare(a.Provider, b.Provider) })
	return p
}

func (p *Proposal) add(provider string, preset bool, a netip.Addr) {
	for i := range p.Servers {
		if of := &p.Servers[i]; of.Provider == provider && of.Preset == preset {
			of.List = append(of.List, a)
			return
		}
	}
	p.Servers = append(p.Servers, Servers{provider, preset, []netip.Addr{a}})
}

// Reads reports whether a table has rules that look at messages themselves.
func Reads(s *ruleset.State) bool {
	for _, c := range s.Chains {
		for _, r := range c.Rules {
			if slices.ContainsFunc(r.Statements(), readsMessage) {
				return true
			}
		}
	}
	return false
}

func readsMessage(s ruleset.Statement) bool {
	switch s.(type) {
	case ruleset.Payload, ruleset.Text:
		return true
	}
	return false
}
