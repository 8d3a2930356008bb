package fence

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"

	"github.com/ringfence/ringfence/pkg/capture"
	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/replay"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// Replayed is what Replay has found.
type Replayed struct {
	replay.Result
	// Unknown are the names of the policy for which no address is remembered. Nobody is
	// asked for them.
	Unknown []string
	Monitor bool
}

// ErrNoCapture says that a file is no capture that can be read.
var ErrNoCapture = errors.New("it is no capture: a file of pcap or pcapng is one")

// Replay says what the rules that are in the kernel now would do with the packets of a
// capture; with a policy that is not in force, what the rules of that would do, with the
// addresses that are remembered. own are the addresses of this side, if others than this host's are. An error
// about a damaged capture comes with what could be read.
func (f View) Replay(ctx context.Context, from io.Reader, p *Policy, own []netip.Addr) (Replayed, error) {
	s, live, err := replaySite(ctx, f, p)
	if err != nil {
		return Replayed{}, err
	}
	reader := bufio.NewReader(from)
	if !capture.Is(reader) {
		return Replayed{}, ErrNoCapture
	}
	ports := s.Policy.Ports
	classifier := capture.NewJudge(live.Automaton, ports.UDP, ports.TCP)
	classifier.Registers = s.Policy.Unknown.Registers()
	tally := replay.NewTally(classifier, ports.UDP, ports.TCP, replay.Reads(live.Table))
	tally.Roaming = replay.Roaming{ByPort: s.Policy.Roaming.Match == policy.MatchAddressPort, Life: s.Policy.Roaming.Life}
	damaged := capture.Read(reader, func(p capture.Packet) error {
		tally.Add(p)
		return ctx.Err()
	})
	if len(own) == 0 {
		for _, i := range s.Host.Interfaces {
			for _, a := range i.Addresses {
				own = append(own, a.Addr())
			}
		}
	}
	r := Replayed{Monitor: s.Policy.Monitor}
	for _, t := range site.Targets(s.Policy) {
		if len(s.Memory.Addresses(t)) == 0 {
			r.Unknown = append(r.Unknown, t.Name)
		}
	}
	r.Result, err = tally.Result(func(q site.Question) (site.Answer, error) { return s.Why(live, q) }, own)
	return r, errors.Join(err, damaged)
}

// replaySite is the site whose rules judge, with the table: that in the kernel, or that of
// a policy.
func replaySite(ctx context.Context, f View, p *Policy) (*site.Site, site.Live, error) {
	if p != nil && !applied(ctx, &f.session, p) {
		return f.siteWithout(p)
	}
	newest, err := f.generation()
	if err != nil {
		return nil, site.Live{}, err
	}
	s, err := siteOfNow(f, newest)
	if err != nil {
		return nil, site.Live{}, err
	}
	live, err := f.live(ctx, s.Policy)
	if err != nil {
		return nil, site.Live{}, err
	}
	_, origins := s.Compile()
	live.Origins = &origins
	if live.Automaton == nil {
		live.Automaton, err = catalog.AutomatonOf(s.Policy)
	}
	return s, live, err
}

// applied reports whether a policy is the one in force, and this process may see its table.
func applied(ctx context.Context, f *session, p *Policy) bool {
	newest, err := f.newest()
	if err != nil || newest == nil || newest.Policy != p.Text {
		return false
	}
	down, err := f.down()
	return err == nil && down == nil && f.kernel(true).Probe(ctx) == nil
}

// siteWithout is the site of a policy that is not in force, as if all that it needs were
// here. It needs no right to read the kernel.
func (f View) siteWithout(p *Policy) (*site.Site, site.Live, error) {
	live := site.Live{Preset: catalog.PresetOf}
	s := &site.Site{Policy: p.Policy, Text: p.Text, Source: p.Source}
	var err error
	if s.Host, err = f.Host(); err != nil {
		return nil, live, err
	}
	memory, err := f.recall(false)
	if err != nil {
		f.Notice.Warn(notice.StateDamaged, "%v; no addresses of names are known", err)
		memory = resolve.NewMemory()
	}
	s.Remember(memory, f.Now())
	if compile.Engine(p.Policy, s.Host) != policy.EngineString {
		s.Host.Engine = string(policy.EngineBPF)
	}
	if len(s.FencedInterfaces()) == 0 {
		s.Host = elsewhere(p.Policy)
		s.Host.Engine = string(policy.EngineBPF)
	}
	s.Classifier.Desired = ruleset.Classifier{}
	for _, name := range s.FencedInterfaces() {
		s.Classifier.Desired[name] = "replay"
	}
	var origins ruleset.Origins
	live.Table, origins = s.Compile()
	live.Origins = &origins
	live.Automaton, err = catalog.AutomatonOf(p.Policy)
	return s, live, err
}

// elsewhere is a host that has what a policy for another host fences.
func elsewhere(p *policy.Policy) ruleset.Host {
	name := "eth0"
	if len(p.Interfaces) > 0 {
		name = strings.ReplaceAll(p.Interfaces[0], "*", "0")
	}
	return ruleset.Host{Interfaces: []ruleset.Interface{{Name: name}}, Outside: []string{name}}
}
