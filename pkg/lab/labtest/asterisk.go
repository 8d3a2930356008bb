package labtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
)

// Asterisk is a real PBX of another make than Kamailio. It asks for a password for calls
// too. The password of a user is "secret-" with the name behind it; other users than those
// it was started with do not exist.
type Asterisk struct {
	host         *lab.Namespace
	root, folder string
	end          func()
	requests     tally
}

// asteriskModules are all that a registrar and calls need.
var asteriskModules = []string{
	"res_pjproject", "res_sorcery_config", "res_sorcery_memory", "res_sorcery_astdb", "res_pjsip", "res_pjsip_pubsub",
	"res_pjsip_session", "res_pjsip_authenticator_digest", "res_pjsip_endpoint_identifier_user", "res_pjsip_registrar",
	"res_pjsip_nat", "res_pjsip_logger", "res_pjsip_sdp_rtp", "res_rtp_asterisk", "chan_pjsip", "pbx_config", "app_dial",
	"bridge_simple", "codec_ulaw",
}

const asteriskFolders = `[directories]
astetcdir => FOLDER
astmoddir => MODULES
astvarlibdir => FOLDER
astdbdir => FOLDER
astkeydir => FOLDER
astdatadir => DATA
astagidir => FOLDER
astspooldir => FOLDER
astrundir => FOLDER
astlogdir => FOLDER
[options]
nocolor = yes
maxfiles = 10000
`

const asteriskPhones = `[global]
type=global
debug=yes
default_realm=pbx.example
[system]
type=system
compact_headers=COMPACT
[endpoint](!)
type=endpoint
context=phones
disallow=all
allow=ulaw
rewrite_contact=yes
force_rport=yes
rtp_symmetric=yes
direct_media=no
[auth](!)
type=auth
auth_type=userpass
[aor](!)
type=aor
max_contacts=50
minimum_expiration=1
default_expiration=300
`

const asteriskCalls = `[phones]
exten => echo,1,Answer()
same => n,Hangup()
exten => _.,1,Dial(${PJSIP_DIAL_CONTACTS(${EXTEN})})
`

// AsteriskOptions say how Asterisk is set up.
type AsteriskOptions struct {
	// Users are those who may register.
	Users []string
	// Compact has it write the short names of headers.
	Compact bool
	// Listen are places such as "udp:192.0.2.1:5060".
	Listen []string
}

// StartAsterisk starts Asterisk in a host until the test ends.
func StartAsterisk(t testing.TB, h *lab.Namespace, o AsteriskOptions) *Asterisk {
	t.Helper()
	root, err := filepath.Abs("../../.cache/asterisk")
	Must(t, err)
	if _, err := os.Stat(filepath.Join(root, "done")); err != nil {
		t.Skip("it needs Asterisk, which scripts/asterisk unpacks, and scripts/test does not: no stable Debian has it")
	}
	a := &Asterisk{host: h, root: root, folder: t.TempDir()}
	modules, err := filepath.Glob(filepath.Join(root, "usr/lib/*/asterisk/modules"))
	if err != nil || len(modules) != 1 {
		t.Fatalf("find the modules of Asterisk: %d, %v", len(modules), err)
	}
	compact := "no"
	if o.Compact {
		compact = "yes"
	}
	phones := strings.Replace(asteriskPhones, "COMPACT", compact, 1)
	for i, place := range o.Listen {
		transport, at, _ := strings.Cut(place, ":")
		phones += fmt.Sprintf("[transport%d]\ntype=transport\nprotocol=%s\nbind=%s\n", i, transport, at)
	}
	for _, user := range o.Users {
		phones += fmt.Sprintf("[%[1]s](endpoint)\nauth=%[1]s\naors=%[1]s\n[%[1]s](auth)\nusername=%[1]s\npassword=secret-%[1]s\n[%[1]s](aor)\n", user)
	}
	load := "[modules]\nautoload=no\n"
	for _, m := range asteriskModules {
		load += "load=" + m + ".so\n"
	}
	for name, text := range map[string]string{
		"asterisk.conf":   strings.NewReplacer("FOLDER", a.folder, "MODULES", modules[0], "DATA", filepath.Join(root, "usr/share/asterisk")).Replace(asteriskFolders),
		"pjsip.conf":      phones,
		"extensions.conf": asteriskCalls,
		"modules.conf":    load,
		"logger.conf":     "[general]\n[logfiles]\nconsole => warning,error,verbose\n",
	} {
		Must(t, os.WriteFile(filepath.Join(a.folder, name), []byte(text), 0o644))
	}
	a.Start(t)
	t.Cleanup(func() { a.Stop() })
	return a
}

// command is a run of Asterisk with its own C library.
func (a *Asterisk) command(args ...string) *exec.Cmd {
	loader, _ := filepath.Glob(filepath.Join(a.root, "usr/lib/*/ld-linux*")) // there is one, or it does not run
	libraries := filepath.Dir(strings.Join(loader, ""))
	own := []string{"--library-path", libraries, filepath.Join(a.root, "usr/sbin/asterisk"), "-C", filepath.Join(a.folder, "asterisk.conf")}
	return exec.Command(strings.Join(loader, ""), append(own, args...)...)
}

// Start starts it again after Stop. It knows its contacts still, but for those of
// connections, which have ended.
func (a *Asterisk) Start(t testing.TB) {
	t.Helper()
	cmd := a.command("-f", "-n", "-vvv")
	cmd.Dir = a.folder
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	Must(t, a.host.Start(cmd))
	read, ended := make(chan string, 1), make(chan struct{})
	ready := make(chan struct{})
	go func() { read <- a.read(r, ready) }()
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its status says nothing
		w.Close()
	}()
	a.end = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}
	select {
	case <-ready:
	case <-ended:
		t.Fatalf("asterisk has ended: %s", <-read)
	}
}

// Stop ends it.
func (a *Asterisk) Stop() { a.end() }

// read takes what it logs: each request that comes is a line that says where from, and the
// request below.
func (a *Asterisk) read(r io.Reader, ready chan struct{}) (last string) {
	var from string
	var lines []string
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := in.Text()
		switch {
		case line == "Asterisk Ready.":
			close(ready)
		case strings.HasPrefix(line, "<--- Received SIP request "):
			_, place, _ := strings.Cut(line, " from ")
			_, place, _ = strings.Cut(strings.TrimSuffix(place, " --->"), ":")
			from, _, _ = net.SplitHostPort(place)
		case from != "":
			method, _, _ := strings.Cut(line, " ")
			a.requests.note(method, from)
			from = ""
		}
		lines = append(lines, line)
		lines = lines[max(0, len(lines)-10):]
	}
	return strings.Join(lines, "\n")
}

// Requests returns how many requests of a method have come from an address; "" is for all
// methods.
func (a *Asterisk) Requests(source, method string) int { return a.requests.count(source, method) }

// Contacts returns from where the phones have registered that it knows now.
func (a *Asterisk) Contacts(t testing.TB) []netip.AddrPort {
	t.Helper()
	cmd := a.command("-rx", "database show registrar/contact")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	Must(t, a.host.Start(cmd))
	if err := cmd.Wait(); err != nil {
		t.Fatalf("ask asterisk for its contacts: %v\n%s", err, out.String())
	}
	var contacts []netip.AddrPort
	for line := range strings.Lines(out.String()) {
		_, text, ok := strings.Cut(line, ": {")
		if !ok {
			continue
		}
		var contact struct{ URI string }
		Must(t, json.Unmarshal([]byte("{"+text), &contact))
		_, place, _ := strings.Cut(contact.URI, "@")
		place, _, _ = strings.Cut(place, ";")
		at, err := netip.ParseAddrPort(place)
		if err != nil {
			t.Fatalf("read a contact of asterisk: %v\n%s", err, line)
		}
		contacts = append(contacts, at)
	}
	slices.SortFunc(contacts, netip.AddrPort.Compare)
	return slices.Compact(contacts)
}
