package fence

import (
	"context"
	"encoding/json"
	"path/filepath"
	"reflect"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// lookForProxies reads what rules of other programs hand to servers on other ports. It may
// read many rules, once after each change of any: so it is called without the lock, and
// earlier runs have left what they have found.
func (f *session) lookForProxies(ctx context.Context) {
	if f.Proxied == nil {
		return
	}
	if f.proxied.Mark == "" {
		var earlier ruleset.Proxied
		if json.Unmarshal([]byte(journal.ReadNote(f.proxiedFile())), &earlier) == nil {
			f.proxied = earlier
		}
	}
	found, err := f.Proxied(ctx, f.proxied, false)
	if err != nil {
		f.Log.Info("read rules of other programs", "error", err)
		return
	}
	f.proxied = found
}

// keepProxies leaves what is found now for later runs, which would have to read as much.
func (f *session) keepProxies(ctx context.Context) {
	f.lookForProxies(ctx)
	if f.proxied.Mark == "" {
		return
	}
	text, err := json.Marshal(f.proxied)
	if err == nil && string(text) != journal.ReadNote(f.proxiedFile()) {
		err = journal.WriteNote(f.proxiedFile(), string(text)+"\n")
	}
	if err != nil {
		f.Log.Info("save what was read of rules of other programs", "error", err)
	}
}

func (f *session) proxiedFile() string { return filepath.Join(f.RunDir, "proxied") }

// proxiesChanged reports whether the rules of other programs hand other packets to other
// servers than was found last, as far as nobody reports that.
func (g *gauge) proxiesChanged(ctx context.Context, f *session) bool {
	if f.Proxied == nil {
		return false
	}
	now, err := f.Proxied(ctx, g.proxied, true)
	if err != nil {
		return false
	}
	before := g.proxied
	g.proxied, before.Mark = now, now.Mark
	return !reflect.DeepEqual(now, before)
}
