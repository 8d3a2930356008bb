package fence

import (
	"context"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/site"
)

// Site is the site of a generation.
func (f *Fence) Site(number int) (*site.Site, error) {
	entry, err := f.Entry(number)
	if err != nil {
		return nil, err
	}
	return f.siteOf(entry, resolve.Memory{})
}

// What tests see of a reconciler.

func (r *Reconciler) Memory() resolve.Memory { return r.memory }

func (r *Reconciler) Site() *site.Site { return r.site }

func (r *Reconciler) Unsaved() bool { return r.unsaved }

func (r *Reconciler) AddressesFile() string { return r.addressesFile() }

func (r *Reconciler) Locked(ctx context.Context, do func() error) error {
	var o Outcome
	return r.locked(ctx, &o, do)
}

func (r *Reconciler) Journal() journal.Journal { return r.fence.Journal }

type FileMark = fileMark

func MarkOf(path string) FileMark { return markOf(path) }

func (m fileMark) Same(other fileMark) bool { return m.same(other) }
