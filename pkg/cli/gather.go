package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// readPolicy reads and checks the policy file.
func (a *app) readPolicy() (*policy.Policy, string, error) {
	file, err := os.Open(a.policyPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", withHint(fmt.Errorf("there is no policy %q (%w)", a.policyPath, fs.ErrNotExist),
			"write one (the examples show how), or name another file with --policy")
	}
	var text []byte
	if err == nil {
		defer file.Close()
		text, err = io.ReadAll(io.LimitReader(file, policy.MaxSize+1))
	}
	if err != nil {
		return nil, "", fmt.Errorf("read policy: %w", err)
	}
	p, err := catalog.Parse(a.policyPath, text)
	return p, string(text), err
}

const resolvConf = "/etc/resolv.conf"

// readHost reads the facts of the host. Without resolv.conf there simply are
// no name servers.
func (a *app) readHost() (ruleset.Host, error) {
	h, err := host.Read()
	if err != nil {
		return h, err
	}
	servers, err := resolve.SystemServers(resolvConf)
	if err != nil {
		a.log.Info("read name servers", "error", err)
	}
	for _, s := range servers {
		h.NameServers = append(h.NameServers, s.Addr().WithZone(""))
	}
	a.probeEngine(&h)
	return h, nil
}

// askTime is the most that asking for all names takes.
const askTime = 20 * time.Second

// questions are names to ask for, with what decides about their answers.
type questions struct {
	targets []resolve.Target
	servers []netip.AddrPort // none = those of the host
	memory  resolve.Memory
	terms   resolve.Terms
	// large are the names whose answers may have any number of records.
	large []string
}

// ask resolves all names of the site. It must not be called with the lock held,
// so what it takes for remembered may not be the last word: it only decides
// whether to ask twice.
func (a *app) ask(ctx context.Context, s *site, remembered resolve.Memory, large []string) {
	s.asked = true
	if targets := targets(s.policy); len(targets) > 0 {
		s.answers = a.askAbout(ctx, questions{targets, s.policy.DNS.Servers, remembered, s.terms(), large})
	}
}

func (a *app) askAbout(ctx context.Context, q questions) []resolve.Result {
	if len(q.servers) == 0 {
		var err error
		if q.servers, err = resolve.SystemServers(resolvConf); err != nil {
			a.log.Warn("read name servers", "error", err)
		}
	}
	a.progress("asking for %s …", count(len(q.targets), "name"))
	start := time.Now()
	client := a.client(q.servers)
	results := q.ask(ctx, client.Lookup, client.Again)
	a.log.Debug("asked for names", "names", len(q.targets), "servers", q.servers, "again", len(results)-len(q.targets), "took", time.Since(start))
	return results
}

// client asks name servers in the way of this run.
func (a *app) client(servers []netip.AddrPort) *resolve.Client {
	client := resolve.NewClient(servers)
	if a.dial != nil {
		client = client.Through(a.dial)
	}
	return client
}

// ask asks, and asks again at once for names of which nearly nothing is as it
// was, by a way of its own.
func (q questions) ask(ctx context.Context, first, again resolve.Lookup) []resolve.Result {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	limit := q.memory.Limit(q.large)
	results := resolve.Resolver{Lookup: first, Limit: limit}.Resolve(ctx, q.targets)
	if doubts := q.memory.Doubts(results, q.terms); len(doubts) > 0 {
		results = append(results, resolve.Resolver{Lookup: again, Limit: limit}.Resolve(ctx, doubts)...)
	}
	return results
}
