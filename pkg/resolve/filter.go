package resolve

import (
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// AddressFilter says which addresses a name must not have.
type AddressFilter struct {
	// Own are the addresses of this host.
	Own []netip.Addr
	// Listed are the prefixes that the policy itself allows. A private address is
	// accepted only if it is among them.
	Listed *netipx.IPSet
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")   // RFC 791
	reserved    = netip.MustParsePrefix("240.0.0.0/4") // RFC 1112, with the broadcast address
)

// Reject returns why an address is rejected, "" if it is not. A name server must not be
// able to open the fence to a whole LAN or to the host itself.
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
	case a.IsPrivate() && (s.Listed == nil || !s.Listed.Contains(a)):
		return "is a private address; to allow it, add it to addresses in the policy"
	}
	return ""
}
