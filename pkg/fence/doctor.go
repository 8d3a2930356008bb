package fence

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ringfence/ringfence/pkg/doctor"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/site"
)

// Examine returns what this host lacks for a fence, or what works against it. It asks
// each name server once, and changes nothing.
func (f View) Examine(ctx context.Context) ([]doctor.Finding, error) {
	facts := doctor.Facts{Now: f.Now().Time, User: os.Geteuid()}
	var err error
	if facts.Network, err = f.Network(); err != nil {
		return nil, err
	}
	facts.Condition = f.Condition(f.StateDir)
	facts.Backend = f.kernel(true).Describe().Name
	if facts.Obstacle = f.Probe(ctx); facts.Obstacle != nil {
		return doctor.Examine(facts), nil
	}
	if facts.Others, err = f.Others(ctx); err != nil {
		return nil, err
	}
	status, err := f.Status(ctx)
	if err != nil {
		return nil, err
	}
	facts.Alarms, facts.Generation, facts.Made, facts.Down = status.Alarms, status.Generation, status.Made, status.Down != nil
	facts.Refreshed, facts.Site = status.Refresh.Time, status.site
	facts.LogReader = otherReader(&f.session, status.site)
	if attached, err := f.Classifier.Observe(); err == nil {
		facts.Attached = attached.Interfaces()
	}
	for _, r := range f.records().notices() {
		if r.Code == notice.ClassifierNotAttached || r.Code == notice.ClassifierNotReplaced {
			facts.NotAttached = append(facts.NotAttached, r.Text)
		}
	}
	if facts.Site != nil {
		facts.Silent = silentServers(ctx, &f.session, facts.Site)
	}
	return doctor.Examine(facts), nil
}

// serverTime is the most that a name server is given to answer the doctor.
const serverTime = 5 * time.Second

// silentServers asks each name server of a site for one of its names, and says which do
// not answer. That there is no such name is an answer.
func silentServers(ctx context.Context, f *session, s *site.Site) map[string]string {
	targets := site.Targets(s.Policy)
	if len(targets) == 0 {
		return nil
	}
	servers := slices.Clone(s.Policy.DNS.Servers)
	if len(servers) == 0 {
		usual, err := f.Servers()
		if err != nil {
			f.Log.Info("read name servers", "error", err)
		}
		servers = usual.Addresses
	}
	ctx, cancel := context.WithTimeout(ctx, serverTime)
	defer cancel()
	silent := map[string]string{}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, server := range servers {
		asking.Go(func() {
			first, _ := f.Lookup(resolve.ServersAt([]netip.AddrPort{server}))
			_, err := first(ctx, resolve.Question{Name: targets[0].Name, Type: "A"})
			failure, failed := errors.AsType[*resolve.Failure](err)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case failed && slices.Contains([]resolve.Kind{resolve.Timeout, resolve.Unreachable, resolve.Refused, resolve.ServFail}, failure.Kind):
				silent[server.String()] = failure.Text
			case err != nil && !failed:
				silent[server.String()] = err.Error()
			}
		})
	}
	asking.Wait()
	return silent
}
