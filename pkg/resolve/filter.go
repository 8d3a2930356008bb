package resolve

import (
	"net/netip"
	"slices"
)

// AddressFilter says which addresses a name must not have.
type AddressFilter struct {
	// Own are the addresses of this host.
	Own []netip.Addr
	// Listed reports whether the policy itself allows an address. A private address is
	// accepted only if it does.
	Listed func(netip.Addr) bool
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")   // RFC 791
	reserved    = netip.MustParsePrefix("240.0.0.0/4") // RFC 1112, with the broadcast address
)

// RejectFrom is Reject of an address that the answer to a question has. The host's own
// file of names may name a private address: who writes that file could as well
// change the rules.
func (s AddressFilter) RejectFrom(q Question, a netip.Addr) string {
	why := s.Reject(a)
	if why != "" && q.Type == HostsFile && a.Unmap().IsPrivate() && !slices.Contains(s.Own, a.Unmap()) {
		return ""
	}
	return why
}

// rejectKnown is Reject of an address that is remembered.
func (s AddressFilter) rejectKnown(k Known, a KnownAddress) string {
	for _, source := range k.sources(a) {
		if s.RejectFrom(source.Question, a.Address) == "" {
			return ""
		}
	}
	return s.Reject(a.Address)
}

// Reject returns why the address is not believed, "" if it is. A name server
// must not be able to open the fence for a whole LAN or for the host
// itself.
func (s AddressFilter) Reject(a netip.Addr) string {
	a = a.Unmap()
	switch {
	case slices.Contains(s.Own, a):
		return "is an address of this host"
	case a.IsUnspecified() || thisNetwork.Contains(a):
		return "is not the address of a host"
	case a.IsLoopback():
		return "is a loopback address"
	case a.IsMulticast():
		return "is a multicast address"
	case a.IsLinkLocalUnicast():
		return "is a link-local address"
	case reserved.Contains(a):
		return "is reserved"
	case a.IsPrivate() && (s.Listed == nil || !s.Listed(a)):
		return "is a private address; to allow it, add it to addresses in the policy"
	}
	return ""
}
