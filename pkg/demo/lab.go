package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
)

// network is the network in which the demo runs:
//
//	provider 203.0.113.0/24, 2001:db8:113::/64 ---+            +--- pbx
//	                                              internet ----+
//	scanner  192.0.2.0/24, 2001:db8:2::/64 -------+            +--- router --- phone
//	road     100.64.7.0/24, 2001:db8:64::/64 -----+
//
// The provider's name server has only NAPTR and SRV records for its registrar. The
// router forwards its port 15060 to port 5060 of the phone.
type network struct {
	lab.Lab
	provider, scanner, pbx, router *lab.Namespace
	road                           *lab.Namespace // where a phone is that belongs to the PBX
	zone                           *lab.Zone
	names                          *lab.NameServer
	atPBX, atPhone                 *lab.Listener
	folder                         string
}

// The demo's addresses, all reserved for documentation (RFC 5737, RFC 3849).
const (
	registrar4, registrar6 = "203.0.113.5", "2001:db8:113::5"
	moved4, moved6         = "203.0.113.77", "2001:db8:113::77"
	nameServer             = "203.0.113.53"
	scanner4, scanner6     = "192.0.2.66", "2001:db8:2::66"
	road4, road6           = "100.64.7.20", "2001:db8:64::20"
	pbx4, pbx6             = "198.51.100.10", "2001:db8:100::10"
	router4, router6       = "198.51.100.130", "2001:db8:130::2"
	phone4, phone6         = "192.168.1.20", "2001:db8:192::20"
	forwardedPort          = 15060
)

func zoneText(v4, v6 string) string {
	return `sip.acme.example. 60 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.sip.acme.example.
sip.acme.example. 60 IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp.sip.acme.example.
_sip._udp.sip.acme.example. 60 IN SRV 10 50 5060 edge.carrier.example.
_sip._tcp.sip.acme.example. 60 IN SRV 10 50 5060 edge.carrier.example.
edge.carrier.example. 60 IN A ` + v4 + `
edge.carrier.example. 60 IN AAAA ` + v6 + "\n"
}

// newNetwork builds the network. The caller must close it, even after an error.
func newNetwork() (*network, error) {
	d := &network{}
	var err error
	host := func(name string) (n *lab.Namespace) {
		if err == nil {
			n, err = d.Host(name)
		}
		return n
	}
	core, phone := host("internet"), host("phone")
	d.provider, d.scanner, d.pbx, d.router = host("provider"), host("scanner"), host("pbx"), host("router")
	d.road = host("road")
	if err != nil {
		return d, err
	}
	internet, err := lab.NewInternet(core)
	if err != nil {
		return d, err
	}
	for _, h := range []struct {
		*lab.Namespace
		gateways, addresses []string
	}{
		{d.provider, []string{"203.0.113.1/24", "2001:db8:113::1/64"}, []string{
			registrar4 + "/24", moved4 + "/24", nameServer + "/24", registrar6 + "/64", moved6 + "/64",
		}},
		{d.scanner, []string{"192.0.2.1/24", "2001:db8:2::1/64"}, []string{scanner4 + "/24", scanner6 + "/64"}},
		{d.road, []string{"100.64.7.1/24", "2001:db8:64::1/64"}, []string{road4 + "/24", road6 + "/64"}},
		{d.pbx, []string{"198.51.100.1/25", "2001:db8:100::1/64"}, []string{pbx4 + "/25", pbx6 + "/64"}},
		{d.router, []string{"198.51.100.129/25", "2001:db8:130::1/64"}, []string{router4 + "/25", router6 + "/64"}},
	} {
		if err := internet.Attach(h.Namespace, h.Name, h.gateways, h.addresses); err != nil {
			return d, err
		}
	}
	if err := d.behindRouter(internet, phone); err != nil {
		return d, err
	}
	return d, d.serve(phone)
}

// behindRouter puts the phone behind the router, which translates IPv4.
func (d *network) behindRouter(internet lab.Internet, phone *lab.Namespace) error {
	err := lab.Link(
		lab.End{Host: d.router, Interface: "lan0", Addresses: []string{"192.168.1.1/24", "2001:db8:192::1/64"}},
		lab.End{Host: phone, Interface: "eth0", Addresses: []string{phone4 + "/24", phone6 + "/64"}})
	if err != nil {
		return err
	}
	return errors.Join(
		d.router.Forward(),
		phone.Route("default", "192.168.1.1"), phone.Route("default", "2001:db8:192::1"),
		internet.Route("2001:db8:192::/64", router6),
		d.router.Translate("eth0", lab.Forward{Port: forwardedPort, To: netip.AddrPortFrom(netip.MustParseAddr(phone4), 5060)}),
	)
}

// serve starts the name server and the hosts that listen for calls.
func (d *network) serve(phone *lab.Namespace) error {
	var err error
	if d.zone, err = lab.NewZone(zoneText(registrar4, registrar6)); err != nil {
		return err
	}
	if d.names, err = d.provider.ServeNames(nameServer+":53", d.zone); err != nil {
		return err
	}
	if d.atPBX, err = d.pbx.Listen(5060, pbx4, pbx6); err != nil {
		return err
	}
	if d.atPhone, err = phone.Listen(5060, phone4, phone6); err != nil {
		return err
	}
	d.folder, err = os.MkdirTemp("", "ringfence-demo-")
	return err
}

// close stops everything and leaves nothing behind.
func (d *network) close() error {
	var err error
	if d.names != nil {
		err = d.names.Close()
	}
	for _, e := range []*lab.Listener{d.atPBX, d.atPhone} {
		if e != nil {
			err = errors.Join(err, e.Close())
		}
	}
	if d.folder != "" {
		err = errors.Join(err, os.RemoveAll(d.folder))
	}
	return errors.Join(err, d.Close())
}

// policyPath returns the path of the policy file of a host.
func (d *network) policyPath(h *lab.Namespace) string {
	return filepath.Join(d.folder, h.Name, "policy.yaml")
}

// writePolicy writes the policy file of a host.
func (d *network) writePolicy(h *lab.Namespace, text string) error {
	if err := os.MkdirAll(filepath.Dir(d.policyPath(h)), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.WriteFile(d.policyPath(h), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	return nil
}

// onHost runs a ringfence command on a host and returns its output.
func (d *Demo) onHost(ctx context.Context, h *lab.Namespace, args ...string) (string, error) {
	return d.Run(ctx, h, filepath.Join(d.folder, h.Name), args)
}

// What can happen to a packet.
const (
	arrives = "arrives"
	dropped = "dropped"
	lost    = "lost"
)

// fate sends one message and reports what happens to it: either its packet reaches the
// socket at the other end, or a counter of the fence in between shows that it was
// dropped.
func (d *Demo) fate(ctx context.Context, p probe) (string, error) {
	return d.fateOf(ctx, p, func(ctx context.Context) {
		// Whether the message arrives is checked at the other end, so an error of
		// sending does not matter.
		_ = p.sender.Send(ctx, p.protocol, p.from, p.to.String(), lab.Message(p.method, p.from, p.to.Addr().String(), p.userAgent))
	})
}

// fateOf is fate for a message that send sends.
func (d *Demo) fateOf(ctx context.Context, p probe, send func(ctx context.Context)) (string, error) {
	droppedBefore, err := d.dropped(ctx, p.fence)
	if err != nil {
		return "", err
	}
	heardBefore := p.listener.From(p.from)
	ctx, cancel := context.WithTimeout(ctx, d.Wait)
	defer cancel()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		send(ctx)
	}()
	defer func() {
		cancel() // otherwise a connection that cannot be made is tried for minutes
		<-sent
	}()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if p.listener.From(p.from) > heardBefore {
			return arrives, nil
		}
		droppedNow, err := d.dropped(ctx, p.fence)
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return lost, nil
		case err != nil:
			return "", err
		case droppedNow > droppedBefore:
			return dropped, nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return "", ctx.Err()
		}
	}
}

// dropped returns how many packets a host's fence has dropped so far.
func (d *Demo) dropped(ctx context.Context, h *lab.Namespace) (n uint64, err error) {
	err = h.Do(func() error {
		counters, err := d.Counters.Counters(ctx)
		for name, packets := range counters {
			if strings.HasPrefix(name, "dropped_") {
				n += packets
			}
		}
		return err
	})
	return n, err
}
