package cli_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// world is an internet with a provider and a PBX on it; attach adds others.
//
//	provider 203.0.113.0/24, 2001:db8:113::/64 ---+
//	                                              internet --- 198.51.100.0/24, 2001:db8:100::/64 pbx
//	strangers 192.0.2.0/24, 2001:db8:2::/64 ------+
type world struct {
	internet      lab.Internet
	provider, pbx *lab.Namespace
}

const (
	pbx4, pbx6         = "198.51.100.10", "2001:db8:100::10"
	edge1, edge2       = "203.0.113.5", "203.0.113.6"
	edge6              = "2001:db8:113::5"
	nameServer         = "203.0.113.53"
	providerForeverOut = "203.0.113.99" // the provider's, but no registrar's
)

func newWorld(t *testing.T) *world {
	t.Helper()
	internet, err := lab.NewInternet(labtest.Host(t, "internet"))
	labtest.Must(t, err)
	w := &world{internet: internet, provider: labtest.Host(t, "provider"), pbx: labtest.Host(t, "pbx")}
	// Nobody but the fence may stop a forged packet.
	for _, setting := range []string{"all", "default"} {
		labtest.Must(t, w.pbx.Set("ipv4/conf/"+setting+"/rp_filter", "0"))
	}
	w.attach(t, w.provider, "provider", "203.0.113.1/24", "2001:db8:113::1/64",
		edge1+"/24", edge2+"/24", nameServer+"/24", providerForeverOut+"/24", edge6+"/64")
	w.attach(t, w.pbx, "pbx", "198.51.100.1/24", "2001:db8:100::1/64", pbx4+"/24", pbx6+"/64")
	return w
}

// attach links a host to the internet, which has the two addresses of the link
// that the host takes as its gateways.
func (w *world) attach(t *testing.T, h *lab.Namespace, link, gateway4, gateway6 string, addresses ...string) {
	t.Helper()
	labtest.Must(t, w.internet.Attach(h, link, []string{gateway4, gateway6}, addresses))
}

// stranger attaches one more host that nobody knows.
func (w *world) stranger(t *testing.T, n int) (h *lab.Namespace, v4, v6 string) {
	t.Helper()
	h = labtest.Host(t, fmt.Sprintf("stranger%d", n))
	v4, v6 = fmt.Sprintf("192.0.2.%d", 4*n+2), fmt.Sprintf("2001:db8:2:%x::2", n)
	w.attach(t, h, fmt.Sprintf("stranger%d", n), fmt.Sprintf("192.0.2.%d/30", 4*n+1), fmt.Sprintf("2001:db8:2:%x::1/64", n), v4+"/30", v6+"/64")
	return h, v4, v6
}

// zone is one that real providers have: no address at the registrar's name,
// only NAPTR and SRV, with a target in another domain.
const (
	zoneAcme = `$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A ` + nameServer + `
sip NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.sip
sip NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp.sip
_sip._udp.sip SRV 10 50 5060 edge.net.example.
_sip._tcp.sip SRV 10 50 5060 edge.net.example.
_sip._tcp.sip SRV 20 50 5060 edge2.net.example.
`
	zoneNet = `$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A ` + nameServer + `
edge A ` + edge1 + `
edge AAAA ` + edge6 + `
edge2 CNAME edge2-alias
edge2-alias A ` + edge2 + `
`
)

// named runs BIND with zones by name until the test ends.
func named(t testing.TB, h *lab.Namespace, address string, zones map[string]string) *exec.Cmd {
	t.Helper()
	folder := t.TempDir()
	config := fmt.Sprintf(`options { directory %q; listen-on { %s; }; listen-on-v6 { none; }; recursion no; pid-file none;
	session-keyfile none; dnssec-validation no; allow-query { any; }; };
controls { };
`, folder, address)
	for name, content := range zones {
		labtest.Must(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644))
		config += fmt.Sprintf("zone %q { type primary; file %q; };\n", name, filepath.Join(folder, name))
	}
	path := filepath.Join(folder, "named.conf")
	labtest.Must(t, os.WriteFile(path, []byte(config), 0o644))
	return daemon(t, h, "all zones loaded", "named", "-g", "-c", path)
}

// daemon starts a program, waits until it writes the given word, and ends it
// with the test.
func daemon(t testing.TB, h *lab.Namespace, ready, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	labtest.Must(t, h.Start(cmd))
	said := make(chan string)
	go func() {
		lines := bufio.NewScanner(r)
		var all strings.Builder
		found := false
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
			if !found && strings.Contains(lines.Text(), ready) {
				found = true
				said <- ""
			}
		}
		if !found {
			said <- all.String()
		}
		io.Copy(io.Discard, r)
	}()
	go func() {
		cmd.Wait()
		w.Close()
	}()
	t.Cleanup(func() { cmd.Process.Kill() })
	if failed := <-said; failed != "" {
		t.Fatalf("%s ended before it was ready:\n%s", name, failed)
	}
	return cmd
}

// listen opens a listener that is closed with the test.
func listen(t *testing.T, h *lab.Namespace, port int, addresses ...string) *lab.Listener {
	t.Helper()
	e, err := h.Listen(uint16(port), addresses...)
	labtest.Must(t, err)
	t.Cleanup(func() { e.Close() })
	return e
}

// until waits for something that must come true.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	labtest.Until(t, what, f)
}

// kill kills a program and waits until its sockets are free.
func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	labtest.Must(t, cmd.Process.Kill())
	until(t, cmd.Path+" has ended", func() bool { return cmd.Process.Signal(syscall.Signal(0)) != nil })
}
