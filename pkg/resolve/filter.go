package resolve

import (
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// AddressFilter says which addresses a name may not stand for.
type AddressFilter struct {
	// Own are the addresses of this host.
	Own []netip.Addr
	// Listed are the prefixes that the policy allows by itself. A private
	// address is believed only if it is among them.
	Listed *netipx.IPSet
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")   // RFC 791
	reserved    = netip.MustParsePrefix("240.0.0.0/4") // RFC 1112, with the broadcast address
)

// Reject returns why the address is not believed, "" if it is. A name server
// must not be able to open the fence for a whole LAN or for the host
// itself.
func (s AddressFilter) Reject(a netip.Addr) string {
	a = a.Unmap()
	switch {
	case slices.Contains(s.Own, a):
		return "is an address of this host"
	case a.IsUnspecified() || thisNetwork.Contains(a):
		return "is no host's address"
	case a.IsLoopback():
		return "is a loopback address"
	case a.IsMulticast():
		return "is a multicast address"
	case a.IsLinkLocalUnicast():
		return "is a link-local address"
	case reserved.Contains(a):
		return "is reserved"
	case a.IsPrivate() && (s.Listed == nil || !s.Listed.Contains(a)):
		return "is a private address; to allow it, add it to addresses in the policy"
	}
	return ""
}
