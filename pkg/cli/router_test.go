package cli_test

import (
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// office is a router on the internet with a phone behind it: port 15060 of the
// router is the phone's 5060.
type office struct {
	*world
	phone *lab.Namespace
}

const (
	phone4, phone6   = "192.168.1.20", "2001:db8:200::20"
	phoneOutside     = pbx4 // the router's address
	forwardedPort    = "15060"
	insideNetwork    = "192.168.1.0/24"
	routerPolicyBase = `version: 1
providers:
  - name: acme
    registrars: [sip.acme.example]
dns:
  servers: [` + nameServer + `]
`
)

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{newWorld(t), labtest.Host(t, "phone")}
	router := o.pbx
	labtest.Must(t, router.Forward())
	labtest.Link(t,
		lab.End{Host: router, Interface: "lan", Addresses: []string{"192.168.1.1/24", "2001:db8:200::1/64"}},
		lab.End{Host: o.phone, Interface: "eth0", Addresses: []string{phone4 + "/24", phone6 + "/64"}})
	labtest.Must(t, o.phone.Route("default", "192.168.1.1"))
	labtest.Must(t, o.phone.Route("default", "2001:db8:200::1"))
	labtest.Must(t, o.internet.Route("2001:db8:200::/64", pbx6))
	labtest.Must(t, router.Translate("eth0", lab.Forward{Port: 15060, To: netip.MustParseAddrPort(phone4 + ":5060")}))
	named(t, o.provider, nameServer, map[string]string{"acme.example": zoneAcme, "net.example": zoneNet})
	return o
}

// TestRouter fences a router in front of a phone whose SIP port is forwarded
// from another port: real scanners do not reach the phone, by the forwarded port
// or by IPv6; the provider's calls do, and the phone registers.
func TestRouter(t *testing.T) {
	t.Parallel()
	eachBackend(t, testRouter)
}

func testRouter(t *testing.T) {
	t.Helper()
	t.Parallel()
	o := newOffice(t)
	scanners := newScanners(t, o.world)
	scanners.port4, scanners.victim6 = forwardedPort, phone6
	s := newSite(t, o.pbx, routerPolicyBase+"interfaces: [eth0]\n")
	scanners.compare(t, func() *lab.Listener { return listen(t, o.phone, 5060, phone4, phone6) }, func() { s.must(t, 0, "apply") })

	t.Run("calls through the forwarded port", func(t *testing.T) {
		calls(t, o.provider, edge1, o.phone, phone4, net.JoinHostPort(phoneOutside, forwardedPort), "u1")
	})
	t.Run("calls through the forwarded port by TCP", func(t *testing.T) {
		calls(t, o.provider, edge1, o.phone, phone4, net.JoinHostPort(phoneOutside, forwardedPort), "t1")
	})
	t.Run("calls by IPv6", func(t *testing.T) {
		calls(t, o.provider, edge6, o.phone, phone6, net.JoinHostPort(phone6, "5060"), "u1")
	})
	t.Run("the phone's own REGISTER and its answer", func(t *testing.T) { registers(t, o, edge1, phone4) })
}

// TestTranslatedPort: a fenced port behind one that is not fenced is still
// fenced, and a port that the policy leaves out is left alone.
func TestTranslatedPort(t *testing.T) {
	t.Parallel()
	eachBackend(t, testTranslatedPort)
}

func testTranslatedPort(t *testing.T) {
	t.Parallel()
	t.Helper()
	o := newOffice(t)
	stranger, v4, _ := o.stranger(t, 1)
	e := listen(t, o.phone, 5060, phone4)
	s := newSite(t, o.pbx, routerPolicyBase+"interfaces: [eth0]\nports: {udp: [5070], tcp: []}\n")
	s.must(t, 0, "apply")
	sendPacket(t, stranger, v4, phoneOutside, 15060)
	until(t, "a port that is not fenced", func() bool { return e.From(v4) == 1 })
	s.write(t, routerPolicyBase+"interfaces: [eth0]\n")
	s.must(t, 0, "apply")
	sendPacket(t, stranger, v4, phoneOutside, 15060)
	sendPacket(t, o.provider, edge1, phoneOutside, 15060)
	until(t, "the registrar's packet", func() bool { return e.From(edge1) == 1 })
	if n := e.From(v4); n != 1 {
		t.Errorf("%d packets of the stranger reached the phone behind the fence", n-1)
	}
}

// registers lets a phone register 10 times with sipp at both ends.
func registers(t *testing.T, o *office, registrar, from string) {
	t.Helper()
	scenario := func(name string) string {
		path, err := filepath.Abs(filepath.Join("testdata", name))
		labtest.Must(t, err)
		return path
	}
	server := exec.CommandContext(t.Context(), "sipp", "-sf", scenario("registrar.xml"), "-i", registrar, "-p", "5060", "-nostdin")
	server.Dir = t.TempDir()
	labtest.Must(t, o.provider.Start(server))
	defer func() {
		server.Process.Kill()
		server.Wait()
	}()
	until(t, "the registrar listens", func() bool { return listens(t, o.provider, "u1") })
	phone := exec.CommandContext(t.Context(), "sipp", "-sf", scenario("register.xml"), "-i", from, "-p", "5060",
		"-m", "10", "-r", "20", "-nostdin", "-timeout", "120", registrar+":5060")
	phone.Dir = t.TempDir()
	var out strings.Builder
	phone.Stdout, phone.Stderr = &out, &out
	labtest.Must(t, o.phone.Start(phone))
	if err := phone.Wait(); err != nil {
		t.Errorf("not all 10 REGISTERs were answered: %v\n%s", err, out.String())
	}
}

// TestCutInside: fencing the inside of a router without trusting its phones is
// refused, with the line that mends it; doing so anyway does what was said.
func TestCutInside(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	s := newSite(t, o.pbx, routerPolicyBase)
	refused := s.must(t, 3, "apply")
	line := `addresses: [` + insideNetwork + `, "2001:db8:200::/64"]`
	for _, want := range []string{"guard cut-inside", insideNetwork + " on lan", line, "--allow-cut-inside"} {
		if !strings.Contains(refused.stderr, want) {
			t.Errorf("the refusal does not say %q:\n%s", want, refused.stderr)
		}
	}
	if rules := s.ruleset(t); strings.Contains(rules, "ringfence") {
		t.Error("a refused apply left a table")
	}
	if d := s.must(t, 2, "diff"); !strings.Contains(d.stderr, "cut-inside") {
		t.Errorf("diff does not say that apply would be refused:\n%s", d.stderr)
	}
	s.write(t, routerPolicyBase+"trusted:\n  "+line+"\n") // as the refusal says
	s.must(t, 0, "apply")
	registers(t, o, edge1, phone4)
	s.write(t, routerPolicyBase)
	// The phone has just registered.
	if o := s.must(t, 3, "apply", "--allow-cut-inside"); !strings.Contains(o.stderr, "cut-live") || !strings.Contains(o.stderr, phone4+" (UDP 5060)") {
		t.Errorf("the refusal says\n%s", o.stderr)
	}
	s.must(t, 0, "apply", "--allow-cut-inside", "--allow-cut-live")
	// What was accepted once is not asked for again; what is new is.
	s.write(t, routerPolicyBase+"bans: {size: 100}\n")
	s.must(t, 0, "apply")
	if d := s.must(t, 0, "diff"); strings.Contains(d.stderr, "refused") {
		t.Errorf("diff says\n%s", d.stderr)
	}
	if o := s.must(t, 0, "status"); !strings.Contains(o.stderr, "could no longer reach their provider") {
		t.Errorf("status does not say who is cut off:\n%s", o.stderr)
	}
	labtest.Run(t, o.pbx, "ip", "link", "add", "docker0", "type", "bridge")
	labtest.Must(t, o.pbx.AddAddress("docker0", "172.17.0.1/16"))
	if o := s.must(t, 4, "refresh"); !strings.Contains(o.stderr, "alarm: 172.17.0.0/16 on docker0: phones there cannot reach their provider") || strings.Contains(o.stderr, insideNetwork) {
		t.Errorf("refresh does not say who is cut off now, or names who was before:\n%s", o.stderr)
	}
	if o := s.must(t, 4, "status", "--check"); !strings.HasPrefix(o.stdout, "ALARM (1): 172.17.0.0/16 on docker0: ") {
		t.Errorf("status --check says:\n%s", o.stdout)
	}
	s.write(t, routerPolicyBase+"interfaces: [eth0]\n")
	s.must(t, 0, "apply")
	labtest.Run(t, o.pbx, "ip", "link", "add", "docker1", "type", "bridge")
	labtest.Must(t, o.pbx.AddAddress("docker1", "172.18.0.1/16"))
	if o := s.must(t, 0, "rollback"); !strings.Contains(o.stderr, "172.18.0.0/16 on docker1") {
		t.Errorf("rollback does not say who is cut off:\n%s", o.stderr)
	}
}
