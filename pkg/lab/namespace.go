// Package lab builds small networks from network namespaces: hosts, links between them,
// and programs that run and send packets there. The demo and the tests use it.
//
// A namespace has no name in the file system. It exists as long as its Namespace is
// open or a process is in it. When the program ends, for whatever reason, the kernel
// removes it with everything in it. The namespace in which the program was started is
// never changed.
package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is one host of the lab.
type Namespace struct {
	// Name is for messages only.
	Name   string
	handle netns.NsHandle
	links  *netlink.Handle
}

// New makes a host that has only a loopback interface, which is up. It needs
// CAP_SYS_ADMIN.
func New(name string) (*Namespace, error) {
	n := &Namespace{Name: name}
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		var err error
		n.handle, err = netns.Get()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	if n.links, err = netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE); err != nil {
		n.handle.Close()
		return nil, fmt.Errorf("open network namespace %s: %w", name, err)
	}
	// Addresses can be used at once, without duplicate address detection. (A kernel
	// without IPv6 has no such setting.)
	if err := n.Set("ipv6/conf/default/accept_dad", "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.Close()
		return nil, err
	}
	if err := n.up("lo"); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// Close closes the namespace. It remains as long as a process is in it.
func (n *Namespace) Close() error {
	n.links.Close()
	return n.handle.Close()
}

// Path is the path under which other programs can open the namespace while this program
// runs, as with nsenter --net=PATH.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.handle)) }

// onOwnThread runs f on a thread that ends with it, so that changes that f makes to the
// namespaces of its thread affect nothing else.
func onOwnThread(f func() error) error {
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		defer close(failed)
		failed <- f()
	}()
	return <-failed
}

// Do runs f in the namespace. Sockets that f opens remain in it. Goroutines that f
// starts do not run in it.
func (n *Namespace) Do(f func() error) error {
	return onOwnThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", n.Name, err)
		}
		return f()
	})
}

// Start starts a command in the namespace: a child process is in the namespace of the
// thread that forks it.
func (n *Namespace) Start(cmd *exec.Cmd) error { return n.Do(cmd.Start) }

// Set sets a parameter of the namespace's network stack, such as "ipv4/ip_forward".
func (n *Namespace) Set(setting, value string) error {
	return n.Do(func() error {
		path := filepath.Join("/proc/sys/net", setting)
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("set %s in %s: %w", setting, n.Name, err)
		}
		return nil
	})
}

func (n *Namespace) up(link string) error {
	l, err := n.links.LinkByName(link)
	if err == nil {
		err = n.links.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("set up interface %s of %s: %w", link, n.Name, err)
	}
	return nil
}

// End is one end of a link: a host, the name of the interface there, and its addresses
// with the lengths of their networks.
type End struct {
	Host      *Namespace
	Interface string
	Addresses []string
}

// Link connects two hosts. Both ends are up, and their addresses can be used at once.
func Link(a, b End) error {
	pair := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: a.Interface, Namespace: netlink.NsFd(a.Host.handle)},
		PeerName:      b.Interface,
		PeerNamespace: netlink.NsFd(b.Host.handle),
	}
	if err := a.Host.links.LinkAdd(pair); err != nil {
		return fmt.Errorf("link %s and %s: %w", a.Host.Name, b.Host.Name, err)
	}
	for _, end := range []End{a, b} {
		for _, address := range end.Addresses {
			if err := end.Host.AddAddress(end.Interface, address); err != nil {
				return err
			}
		}
		if err := end.Host.up(end.Interface); err != nil {
			return err
		}
	}
	return nil
}

// AddAddress adds an address to an interface.
func (n *Namespace) AddAddress(link, address string) error {
	parsed, err := netlink.ParseAddr(address)
	if err != nil {
		return fmt.Errorf("read address %q: %w", address, err)
	}
	parsed.Flags = unix.IFA_F_NODAD
	l, err := n.links.LinkByName(link)
	if err == nil {
		err = n.links.AddrAdd(l, parsed)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add %s to interface %s of %s: %w", address, link, n.Name, err)
	}
	return nil
}

// Route adds a route to a network, which may be "default", by a next hop.
func (n *Namespace) Route(network, via string) error {
	hop, err := netip.ParseAddr(via)
	if err != nil {
		return fmt.Errorf("read next hop %q: %w", via, err)
	}
	prefix := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if hop.Is6() {
		prefix = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if network != "default" {
		if prefix, err = netip.ParsePrefix(network); err != nil {
			return fmt.Errorf("read network %q: %w", network, err)
		}
	}
	_, destination, err := net.ParseCIDR(prefix.String())
	if err == nil {
		err = n.links.RouteAdd(&netlink.Route{Dst: destination, Gw: hop.AsSlice()})
	}
	if err != nil {
		return fmt.Errorf("add route to %s via %s in %s: %w", network, via, n.Name, err)
	}
	return nil
}

// RouteBy adds a route to a network, which may be "default4" or "default6", by an interface
// alone.
func (n *Namespace) RouteBy(network, link string) error {
	prefix, err := netip.ParsePrefix(map[string]string{"default4": "0.0.0.0/0", "default6": "::/0"}[network])
	if err != nil {
		if prefix, err = netip.ParsePrefix(network); err != nil {
			return fmt.Errorf("read network %q: %w", network, err)
		}
	}
	_, destination, err := net.ParseCIDR(prefix.Masked().String())
	if err != nil {
		return fmt.Errorf("read network %q: %w", network, err)
	}
	l, err := n.links.LinkByName(link)
	if err == nil {
		err = n.links.RouteReplace(&netlink.Route{Dst: destination, LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK})
	}
	if err != nil {
		return fmt.Errorf("add route to %s by %s in %s: %w", network, link, n.Name, err)
	}
	return nil
}

// Mute makes an interface send to whatever address without asking who has it.
func (n *Namespace) Mute(link string) error {
	l, err := n.links.LinkByName(link)
	if err == nil {
		err = n.links.LinkSetARPOff(l)
	}
	if err != nil {
		return fmt.Errorf("mute interface %s of %s: %w", link, n.Name, err)
	}
	return nil
}
