package ruleset

import "slices"

// Proxy is a way by which rules of another program hand packets to a server on another
// port than they are sent to, so that neither their destination nor connection tracking
// has that port.
type Proxy struct {
	// Chain is where the rule is, without its rules. Its hook and priority are those of
	// the chain that packets come to first.
	Chain OtherChain `json:"in"`
	// Port is that of the server. Written says that the rule writes it into the packets.
	Port    uint16 `json:"port"`
	Written bool   `json:"written,omitempty"`
	// When is what is understood of what all rules on the way look for. All of that must
	// hold.
	When []Condition `json:"when,omitempty"`
}

// Proxied is what was found of such ways at one moment.
type Proxied struct {
	// Mark says of which state of the rules in nf_tables that is, "" if that is not known,
	// and Any that there are such rules in it, also if no packet comes to them.
	Mark string  `json:"mark"`
	Any  bool    `json:"any,omitempty"`
	Ways []Proxy `json:"ways,omitempty"`
	// Legacy are the ways through tables of iptables-legacy.
	Legacy []Proxy `json:"legacy,omitempty"`
}

// Proxies are the ways that lead through some chains.
func Proxies(chains []OtherChain) []Proxy {
	w := walk{chains: map[chainKey]*OtherChain{}, leads: map[chainKey]bool{}}
	for i, c := range chains {
		w.chains[keyOf(c, c.Name)] = &chains[i]
		w.leads[keyOf(c, c.Name)] = slices.ContainsFunc(c.Rules, func(r OtherRule) bool { return r.Proxied != 0 })
	}
	for changed := true; changed; {
		changed = false
		for _, c := range chains {
			key := keyOf(c, c.Name)
			if !w.leads[key] && slices.ContainsFunc(c.Rules, func(r OtherRule) bool { return r.Leads != "" && w.leads[keyOf(c, r.Leads)] }) {
				w.leads[key], changed = true, true
			}
		}
	}
	for _, c := range chains {
		if c.Hook == "" {
			continue
		}
		w.base = c
		w.follow(c, nil, 0)
		// What leads to a chain by a map is not understood: it may be any packet.
		for _, mapped := range chains {
			if mapped.Mapped && keyOf(mapped, "") == keyOf(c, "") {
				w.follow(mapped, nil, 0)
			}
		}
	}
	return w.found
}

// chainKey identifies a chain.
type chainKey struct{ program, table, name string }

// keyOf is that of a chain of the table that c is of.
func keyOf(c OtherChain, name string) chainKey { return chainKey{c.Program, c.Table, name} }

// walk goes the ways of packets through chains.
type walk struct {
	chains map[chainKey]*OtherChain
	leads  map[chainKey]bool // the chains that lead to a rule that is looked for
	base   OtherChain        // from which it goes
	found  []Proxy
}

// The kernel lets rules jump no deeper (NFT_JUMP_STACK_SIZE). More ways than so many are
// not told apart.
const (
	deepest  = 16
	mostWays = 1000
)

func (w *walk) follow(c OtherChain, when []Condition, depth int) {
	if !w.leads[keyOf(c, c.Name)] || depth > deepest {
		return
	}
	for _, r := range c.Rules {
		own := r.conditions()
		all := slices.Concat(when, own)
		if r.Proxied != 0 && len(w.found) < mostWays {
			in := OtherChain{Table: c.Table, Name: c.Name, Program: c.Program, Hook: w.base.Hook, Priority: w.base.Priority}
			w.found = append(w.found, Proxy{Chain: in, Port: r.Proxied, Written: r.Written, When: all})
		}
		if next := w.chains[keyOf(c, r.Leads)]; r.Leads != "" && next != nil && len(w.found) < mostWays {
			w.follow(*next, all, depth+1)
		}
		switch {
		case !r.Leaves || r.Partly:
		case len(own) == 0:
			return // nothing comes further
		case len(own) == 1:
			// What comes further is not what this rule looks for.
			rest := own[0]
			rest.Not = !rest.Not
			when = append(slices.Clip(when), rest)
		}
	}
}
