package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/rules"
)

// available is what this version offers a policy.
func available() (policy.Available, error) {
	providers, err := rules.Providers()
	if err != nil {
		return policy.Available{}, err
	}
	presets := map[string]policy.Preset{}
	for name, p := range providers {
		if presets[name], err = presetOf(p); err != nil {
			return policy.Available{}, err
		}
	}
	return policy.Available{
		Presets:        presets,
		SignatureLists: []string{"scanners"},
		Backends:       []policy.Backend{policy.BackendNFTables},
	}, nil
}

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
	p, err := parsePolicy(a.policyPath, text)
	return p, string(text), err
}

func parsePolicy(name string, text []byte) (*policy.Policy, error) {
	offered, err := available()
	if err != nil {
		return nil, err
	}
	return policy.Parse(name, bytes.NewReader(text), offered)
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
	return h, nil
}

// askTime is the most that asking for all names takes.
const askTime = 20 * time.Second

// ask resolves all names of the policy. It must not be called with the lock
// held.
func (a *app) ask(ctx context.Context, p *policy.Policy) []resolve.Result {
	targets := targets(p)
	if len(targets) == 0 {
		return nil
	}
	return a.askAbout(ctx, p.DNS.Servers, targets)
}

func (a *app) askAbout(ctx context.Context, servers []netip.AddrPort, targets []resolve.Target) []resolve.Result {
	if len(servers) == 0 {
		var err error
		if servers, err = resolve.SystemServers(resolvConf); err != nil {
			a.log.Warn("read name servers", "error", err)
		}
	}
	a.progress("asking for %s …", count(len(targets), "name"))
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	start := time.Now()
	client := resolve.NewClient(servers)
	if a.dial != nil {
		client = client.Through(a.dial)
	}
	results := resolve.Resolve(ctx, client.Lookup, targets)
	a.log.Debug("asked for names", "names", len(targets), "servers", servers, "took", time.Since(start))
	return results
}
