package fence

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
	"github.com/ringfence/ringfence/pkg/verify"
)

// Verified is what a copy of the rules has done with packets.
type Verified struct {
	Backend backend.Description
	Monitor bool
	Probes  []verify.Probe
	// Tried is of how many addresses packets were sent, of All in the sets.
	Tried, All int
	// Without is why signatures were not part of it, nil if they were.
	Without error
	// NotCopied is what another program has put into the table.
	NotCopied []string
}

// Differences are the packets with which the rules do something else than the policy says.
func (v Verified) Differences() []verify.Probe {
	return slices.DeleteFunc(slices.Clone(v.Probes), func(p verify.Probe) bool { return !p.Differs() })
}

// Good reports whether all is as the policy says.
func (v Verified) Good() bool { return len(v.NotCopied) == 0 && len(v.Differences()) == 0 }

// Verify copies the rules that are in the kernel now into a network namespace of its own,
// sends packets through them there, and compares what passes with the policy of the newest
// generation. The network of this host is not touched.
func (f View) Verify(ctx context.Context) (Verified, error) {
	newest, err := f.generation()
	if err != nil {
		return Verified{}, err
	}
	s, err := siteOfNow(f, newest)
	if err != nil {
		return Verified{}, err
	}
	kernel := f.kernel(false)
	v := Verified{Backend: kernel.Describe(), Monitor: s.Policy.Monitor}
	have, err := f.observe(ctx, kernel)
	if err != nil {
		return v, err
	}
	if !have.Exists {
		return v, notice.WithHint(backend.ErrNoFence, "put it up with ringfence apply or ringfence up")
	}
	live := site.Live{Table: &ruleset.State{Sets: map[string]ruleset.Set{}}}
	if err := readTemporary(ctx, kernel, &live); err != nil {
		return v, err
	}
	in, err := f.policyOf(s, live)
	if err != nil {
		return v, err
	}
	v.NotCopied = onlyOurs(have)
	if v.Without = f.withoutSignatures(s, have, &in); v.Without != nil {
		have.Classifier, in.Table.Classifier, in.Automaton = nil, nil, nil
	}
	if v.Probes, v.Tried, v.All, err = in.Cases(); err != nil {
		return v, err
	}
	if len(v.Probes) == 0 {
		return v, errors.New("verify the rules: this host has no interface by which packets could come")
	}
	err = verify.Run(ctx, s.Host, v.Probes, func(ctx context.Context) error { return f.repeat(ctx, s, have, live) })
	return v, err
}

// policyOf is what a site wants, with the elements of dynamic sets.
func (f View) policyOf(s *site.Site, live site.Live) (verify.Policy, error) {
	table, origins := s.Compile()
	arm(&f.session, table)
	addElements(table, "banned", live.Banned)
	addElements(table, "allowed", live.ByHand)
	in := verify.Policy{Site: s, Table: table, Origins: origins}
	if len(table.Classifier) == 0 {
		return in, nil
	}
	var err error
	in.Automaton, err = catalog.AutomatonOf(s.Policy)
	return in, err
}

// withoutSignatures returns why signatures cannot be part of the copy, nil if they can or
// none are wanted: the program must be attached here, and this process able to attach it.
func (f View) withoutSignatures(s *site.Site, have *ruleset.State, in *verify.Policy) error {
	switch {
	case s.Policy.Signatures.Engine == policy.EngineOff:
		return errors.New("signatures.engine is off")
	case len(in.Table.Classifier) == 0:
		if err := s.ClassifierObstacle(); err != nil {
			return err
		}
		return errors.New("no classifier is attached")
	case !have.Classifier.Equal(in.Table.Classifier):
		return errors.New("the classifier that is attached is not the policy's")
	}
	return f.Classifier.Probe()
}

// repeat puts the table and who is banned or allowed for a time into the network namespace
// of the calling thread.
func (f View) repeat(ctx context.Context, s *site.Site, have *ruleset.State, live site.Live) error {
	kernel := f.open(f.chosen())
	have.Others = nil
	tables := control.Classified{Rules: kernel, Classifier: f.Classifier.With(s.Classifier.Program)}
	none := func(*plan.Plan) error { return nil }
	if _, err := (control.Controller{Kernel: tables}).Sync(ctx, control.Desired{State: have}, none); err != nil {
		return err
	}
	for _, b := range live.Banned {
		if err := kernel.Ban(ctx, backend.Banned{Address: b.Address, Left: b.Left}); err != nil {
			return fmt.Errorf("ban %s: %w", b.Address, err)
		}
	}
	for _, a := range live.ByHand {
		if err := kernel.Allow(ctx, backend.Allowed{Address: a.Address, Left: a.Left}); err != nil {
			return fmt.Errorf("allow %s: %w", a.Address, err)
		}
	}
	return nil
}

// onlyOurs takes out of a table what another program has put there, and names it.
func onlyOurs(table *ruleset.State) []string {
	var others []string
	if table.Flags != "" {
		others = append(others, "the table's flags "+table.Flags)
		table.Flags = ""
	}
	for _, o := range table.ForeignObjects {
		others = append(others, o.Kind+" "+o.Name)
	}
	table.ForeignObjects = nil
	for name, s := range table.Sets {
		if s.Foreign != "" {
			others = append(others, fmt.Sprintf("of set %s: %s", name, s.Foreign))
			s.Foreign = ""
		}
		s.Elements = slices.DeleteFunc(slices.Clone(s.Elements), func(e ruleset.Element) bool {
			if e.Foreign != "" {
				others = append(others, fmt.Sprintf("element %s of set %s", e, name))
			}
			return e.Foreign != ""
		})
		table.Sets[name] = s
	}
	for name, c := range table.Chains {
		if c.Foreign != "" || c.Bound {
			others = append(others, "chain "+name)
			delete(table.Chains, name)
			continue
		}
		c.Rules = slices.DeleteFunc(c.Rules, func(r ruleset.Rule) bool {
			if r.Statements() == nil {
				others = append(others, fmt.Sprintf("rule of chain %s: %s", name, r.Shown()))
			}
			return r.Statements() == nil
		})
		table.Chains[name] = c
	}
	slices.Sort(others)
	return others
}
