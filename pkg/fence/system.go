package fence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/events/nflog"
	"github.com/ringfence/ringfence/pkg/feed/https"
	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/host/system"
	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/signature"
)

// System returns the world of this machine, in the network namespace of the calling
// thread. It is the only place that chooses a back end. dial opens connections to name
// servers; nil is the usual way.
func System(log *slog.Logger, dial resolve.Dial) World {
	return World{
		Kernel:     func() backend.Kernel { return choose(policy.BackendAuto, log) },
		Backend:    func(b policy.Backend) backend.Kernel { return choose(b, log) },
		Backends:   func(but string) []backend.Kernel { return others(but, log) },
		Classifier: ebpf{},
		Host:       func() (ruleset.Host, error) { return system.Read(log) },
		Listeners:  system.Listeners,
		Neighbours: system.Neighbours, Flows: system.Flows,
		Watch: system.Watch, ResolverFiles: system.ResolverFiles(),
		Servers: system.NameServers,
		Hosts:   system.Hosts,
		Lookup: func(servers resolve.Servers) (first, again resolve.Lookup) {
			client := resolve.NewClient(servers)
			if dial != nil {
				client = client.Through(dial)
			}
			return client.Lookup, client.Again
		},
		Fetch:     fetcher(https.New()),
		Network:   system.Facts,
		Folder:    system.Folder,
		Condition: func(stateFolder string) host.Condition { return system.Condition(log, stateFolder) },
		Others:    readOthers,
		Proxied:   readProxied,
		MakeSaved: func(ctx context.Context) error { return iptables.MakeSaved(ctx, system.SavedRules()) },
		Drops:     openDrops,
		LogReader: func() (*host.Program, error) { return system.LogReader(ruleset.LogGroup) },
		Now:       system.Clock(log),
	}
}

// BackendNames are what a policy can ask for.
func BackendNames() []string {
	return []string{
		string(policy.BackendAuto), string(policy.BackendNFTables),
		string(policy.BackendIPTables), string(policy.BackendIPTablesLegacy), string(policy.BackendIPTablesNFT),
	}
}

// choose returns the back end of a name; auto is nftables where the kernel has it, and
// also where iptables does not work either: its error says more.
func choose(b policy.Backend, log *slog.Logger) backend.Kernel {
	switch b {
	case policy.BackendIPTables, policy.BackendIPTablesLegacy, policy.BackendIPTablesNFT:
		return &iptables.Kernel{Flavour: iptables.Flavour(b), Log: log}
	case policy.BackendAuto:
		// A process that may not use nftables may not use iptables either.
		ctx := context.Background() //nolint:forbidigo // one question to each, answered at once
		if !errors.Is((&nft.Kernel{}).Probe(ctx), backend.ErrUnsupported) {
			break
		}
		if k := (&iptables.Kernel{Log: log}); !errors.Is(k.Probe(ctx), backend.ErrUnsupported) {
			return k
		}
	}
	return &nft.Kernel{Log: log}
}

// others are all back ends but that of a name.
func others(name string, log *slog.Logger) []backend.Kernel {
	all := []backend.Kernel{
		&nft.Kernel{Log: log}, &iptables.Kernel{Flavour: iptables.Legacy, Log: log}, &iptables.Kernel{Flavour: iptables.NFT, Log: log},
	}
	names := []policy.Backend{policy.BackendNFTables, policy.BackendIPTablesLegacy, policy.BackendIPTablesNFT}
	if i := slices.Index(names, policy.Backend(name)); i >= 0 {
		all = slices.Delete(all, i, i+1)
	}
	return all
}

// openDrops begins to listen to the packets that the rules drop.
func openDrops(signature func(message []byte) string) (events.Source, error) {
	r, err := nflog.Open()
	if err != nil {
		return nil, err
	}
	r.Signature = signature
	return r, nil
}

// readOthers reads what other programs have in nftables and in both flavours of iptables.
func readOthers(ctx context.Context) (ruleset.Others, error) {
	others, err := nft.ReadOthers(ctx)
	if err != nil {
		return others, err
	}
	legacy, err := iptables.ReadOthers()
	others.Chains = append(others.Chains, legacy...)
	for _, c := range legacy {
		for _, r := range c.Rules {
			if strings.HasPrefix(r.Helper, "sip") {
				others.SIPHelpers = append(others.SIPHelpers, fmt.Sprintf("%s of chain %s of %s", r.Helper, c.Name, c.Program))
			}
		}
	}
	return others, err
}

// readProxied is World.Proxied. Nobody reports changes of tables of iptables-legacy, and of
// those of nf_tables only that there is such a rule now.
func readProxied(ctx context.Context, last ruleset.Proxied, unreported bool) (now ruleset.Proxied, err error) {
	now = last
	if !unreported || last.Any {
		if now, err = nft.ReadProxies(ctx, last); err != nil {
			return last, err
		}
	}
	now.Legacy, err = iptables.ReadProxies()
	return now, err
}

// Rights are what the kernel lets this process do.
type Rights = system.Rights

// OwnRights returns the rights of this process.
func OwnRights() Rights { return system.ReadRights() }

// ebpf is the classifier of pkg/classifier.
type ebpf struct{}

func (ebpf) Probe() error { return classifier.Probe() }

func (ebpf) Observe() (ruleset.Classifier, error) { return classifier.Observe() }

func (ebpf) Foreign(interfaces []string) map[string]error { return classifier.Foreign(interfaces) }

func (ebpf) Before(interfaces []string) map[string][]string { return classifier.Before(interfaces) }

func (ebpf) Details(err error) []string { return classifier.VerifierLog(err) }

func (ebpf) Hits() (map[string]uint64, error) { return classifier.Hits() }

func (ebpf) New(a *signature.Automaton, r ruleset.Reading) backend.Program {
	return classifier.New(a, r)
}

func (e ebpf) With(p backend.Program) control.Classifier {
	program, _ := p.(*classifier.Program)
	return attached{e, program}
}

// attached is the classifier with a program, as part of a transaction. A nil program
// means none.
type attached struct {
	ebpf
	program *classifier.Program
}

// Begin loads the program and attaches it where it is wanted. want has only interfaces
// that exist; one that is removed meanwhile is left to the next run.
func (a attached) Begin(want ruleset.Classifier) (control.Change, error) {
	if len(want) == 0 || a.program == nil {
		return classifier.Begin(nil, nil)
	}
	loaded, err := a.program.Load()
	if err != nil {
		return nil, err
	}
	there := slices.DeleteFunc(want.Interfaces(), func(name string) bool {
		_, err := net.InterfaceByName(name)
		return err != nil
	})
	change, err := classifier.Begin(loaded, there)
	if err != nil {
		loaded.Close()
		return nil, err
	}
	return loadedChange{change, loaded}, nil
}

// loadedChange closes the program at the end. The attached program stays in the kernel.
type loadedChange struct {
	*classifier.Change
	loaded *classifier.Loaded
}

func (c loadedChange) Finish() error {
	defer c.loaded.Close()
	return c.Change.Finish()
}

func (c loadedChange) Undo() error {
	defer c.loaded.Close()
	return c.Change.Undo()
}
