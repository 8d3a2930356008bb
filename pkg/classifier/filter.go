package classifier

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/ringfence/ringfence/pkg/host/dump"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The place of ringfence's filters on an interface: the ingress side of clsact, for all
// protocols. From Linux 5.4 on, clsact is the only way that needs neither a process nor
// a pin to keep the program. Any administrator can see the filter (tc filter show dev X
// ingress), and every process with CAP_NET_ADMIN can remove it.
const (
	// place is the preference of the filter in force. next is that of its successor
	// while a change is under way: it comes later, so its mark counts.
	place, next = 5, 6
	handle      = 0x5060
	// owner is stored in the filter's class, which is otherwise unused, if ringfence
	// has made the qdisc. It shows that the qdisc can be removed with the filter.
	owner = 0x52460001
)

// filter is one of ringfence's filters, or a filter in its place.
type filter struct {
	name  string
	id    uint32 // of the program in the kernel
	owner bool
}

func (f *filter) ours() bool { return strings.HasPrefix(f.name, prefix) }

// linkOf finds an interface.
func linkOf(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return nil, fmt.Errorf("%w: %s", ErrNoInterface, name)
	}
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	return link, nil
}

func filtersOf(link netlink.Link, side uint32) ([]netlink.Filter, error) {
	list, err := dump.Whole(func() ([]netlink.Filter, error) { return netlink.FilterList(link, side) })
	if err != nil {
		return nil, fmt.Errorf("list filters of %s: %w", link.Attrs().Name, linkError(err))
	}
	return list, nil
}

// filters returns, by preference, the filters at the places of ringfence's.
func filters(link netlink.Link) (map[uint16]*filter, error) {
	list, err := filtersOf(link, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return nil, err
	}
	here := map[uint16]*filter{}
	for _, f := range list {
		if a := f.Attrs(); isFirst(f) && (a.Priority == place || a.Priority == next) && a.Handle == handle {
			here[a.Priority] = filterOf(f)
		}
	}
	return here, nil
}

// isFirst reports whether a filter is in the chain where packets come in. Filters in
// other chains do not affect ringfence's.
func isFirst(f netlink.Filter) bool {
	chain := f.Attrs().Chain
	return chain == nil || *chain == 0
}

func filterOf(f netlink.Filter) *filter {
	if bpf, ok := f.(*netlink.BpfFilter); ok {
		return &filter{name: bpf.Name, id: uint32(bpf.Id), owner: bpf.ClassId == owner}
	}
	return &filter{}
}

// guardAgainst returns an error if a filter prevents ringfence from using one of its
// preferences.
func guardAgainst(link netlink.Link, f netlink.Filter) error {
	a := f.Attrs()
	switch _, isBPF := f.(*netlink.BpfFilter); {
	case !isFirst(f) || a.Priority != place && a.Priority != next:
		return nil
	case !isBPF || a.Protocol != unix.ETH_P_ALL:
		return taken(link, a.Priority)
	case a.Handle == handle:
		return guard(link, a.Priority, filterOf(f))
	}
	return nil
}

// taken is the error for a preference in use: all filters of a preference are of one
// kind and for one protocol.
func taken(link netlink.Link, preference uint16) error {
	return fmt.Errorf("%w: ingress pref %d of interface %s is for another protocol or kind of filter", ErrForeign, preference, link.Attrs().Name)
}

// guard refuses to change a filter that is not ringfence's.
func guard(link netlink.Link, preference uint16, there *filter) error {
	if there == nil || there.ours() {
		return nil
	}
	what := "without a name"
	if there.name != "" {
		what = fmt.Sprintf("%q", there.name)
	}
	return fmt.Errorf("%w: %s, on interface %s at ingress pref %d handle %#x", ErrForeign, what, link.Attrs().Name, preference, handle)
}

// sharedBlock returns an error if the filters of an interface are those of a block that
// others may share: the kernel takes none for the interface alone then.
func sharedBlock(link netlink.Link) error {
	list, err := dump.Whole(func() ([]netlink.Qdisc, error) { return netlink.QdiscList(link) })
	if err != nil {
		return nil // other calls report it
	}
	for _, q := range list {
		if a := q.Attrs(); a.LinkIndex == link.Attrs().Index && a.IngressBlock != nil {
			return fmt.Errorf("%w: interface %s has the filters of the shared block %d in place of its own (ingress_block)", ErrForeign, link.Attrs().Name, *a.IngressBlock)
		}
	}
	return nil
}

// put attaches a program's filter at a preference, in place of one of ringfence's.
func put(link netlink.Link, preference uint16, l *Loaded, there *filter, ownsQdisc bool) error {
	if err := guard(link, preference, there); err != nil {
		return err
	}
	f := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS,
			Handle: handle, Priority: preference, Protocol: unix.ETH_P_ALL,
		},
		Fd: l.program().FD(), Name: l.Name(), DirectAction: true,
	}
	if ownsQdisc {
		f.ClassId = owner
	}
	// Only a filter that was just seen to be ringfence's is replaced.
	act := netlink.FilterAdd
	if there != nil {
		act = netlink.FilterReplace
	}
	err := act(f)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = cmp.Or(sharedBlock(link), err)
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w (%w)", taken(link, preference), err)
	}
	if err != nil {
		return fmt.Errorf("put filter on %s: %w", link.Attrs().Name, linkError(err))
	}
	return nil
}

// take removes ringfence's filter at a preference, if there is one.
func take(link netlink.Link, preference uint16, there *filter) error {
	if there == nil {
		return nil
	}
	if err := guard(link, preference, there); err != nil {
		return err
	}
	err := netlink.FilterDel(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS,
		Handle: handle, Priority: preference, Protocol: unix.ETH_P_ALL,
	}})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("take filter from %s: %w", link.Attrs().Name, linkError(err))
	}
	return nil
}

func clsact(link netlink.Link) *netlink.GenericQdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		},
		QdiscType: "clsact",
	}
}

// makeQdisc makes the qdisc for filters. It returns false if there was one already,
// either clsact or ingress.
func makeQdisc(link netlink.Link) (bool, error) {
	err := netlink.QdiscAdd(clsact(link))
	switch {
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EBUSY):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("make clsact on %s: %w", link.Attrs().Name, linkError(err))
	}
	return true, nil
}

// dropQdisc removes the qdisc that ringfence has made, together with that many of
// ringfence's filters, unless another program has a filter there. It reports whether it
// did.
func dropQdisc(link netlink.Link, ours int) (bool, error) {
	for _, side := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		list, err := filtersOf(link, side)
		if err != nil {
			return false, err
		}
		ours -= len(list)
	}
	if ours < 0 {
		return false, nil
	}
	if err := netlink.QdiscDel(clsact(link)); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return false, fmt.Errorf("remove clsact of %s: %w", link.Attrs().Name, linkError(err))
	}
	return true, nil
}

// linkError adds to an error of rtnetlink what a user can do about it.
func linkError(err error) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w (%w)", ErrNoInterface, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: run as root, or give it CAP_NET_ADMIN (%w)", ErrPermission, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: it has no clsact (CONFIG_NET_CLS_ACT, CONFIG_NET_CLS_BPF) (%w)", ErrUnsupported, err)
	}
	return err
}
