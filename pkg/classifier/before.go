package classifier

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// Before returns, for each of the interfaces that has any, the programs that see a packet
// before ringfence's filter and can keep it from that: filters of a lower preference,
// and tcx programs (Linux 6.6), which run before all filters. What cannot be read is left
// out. That such a program is there is no fault: most let packets go on.
func Before(interfaces []string) map[string][]string {
	before := map[string][]string{}
	for _, name := range interfaces {
		at, err := linkOf(name)
		if err != nil {
			continue
		}
		list := slices.Concat(tcxOf(at), filtersBefore(at))
		if len(list) > 0 {
			before[name] = list
		}
	}
	return before
}

func filtersBefore(at netlink.Link) []string {
	list, err := filtersOf(at, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return nil
	}
	var found []string
	for _, f := range list {
		if a := f.Attrs(); isFirst(f) && a.Priority < place {
			text := fmt.Sprintf("tc filter pref %d (%s)", a.Priority, f.Type())
			if !slices.Contains(found, text) { // one of u32 is more than one here
				found = append(found, text)
			}
		}
	}
	return found
}

func tcxOf(at netlink.Link) []string {
	programs, err := link.QueryPrograms(link.QueryOptions{Target: at.Attrs().Index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil // before Linux 6.6 there are none
	}
	var found []string
	for _, p := range programs.Programs {
		text := fmt.Sprintf("tcx program %d", p.ID)
		if name, err := nameOf(p.ID); err == nil && name != "" {
			text = fmt.Sprintf("tcx program %q", name)
		}
		found = append(found, text)
	}
	return found
}

// nameOf is the name of a program, as its maker gave it.
func nameOf(id ebpf.ProgramID) (name string, err error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	info, err := p.Info()
	if err != nil {
		return "", err
	}
	return info.Name, nil
}
