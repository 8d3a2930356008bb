package labtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
)

// kamailioPBX is a PBX as people build it with Kamailio: it asks for a password, keeps
// the phones' contacts with the addresses that their packets came from, answers calls to
// "echo" itself and puts the others through. It logs each request that reaches it, and
// wrong passwords in a line that fail2ban reads.
const kamailioPBX = `debug=0
log_stderror=yes
children=4
tcp_children=4
tcp_max_connections=4096
exit_timeout=1
auto_aliases=no
dns=no
rev_dns=no
LISTEN
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "auth.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "nathelper.so"
loadmodule "jsonrpcs.so"
modparam("jsonrpcs", "transport", 2)
modparam("jsonrpcs", "fifo_name", "FOLDER/ask")
modparam("jsonrpcs", "fifo_reply_dir", "FOLDER/")
modparam("usrloc", "timer_interval", 1)
modparam("registrar", "min_expires", 1)
modparam("nathelper|registrar", "received_avp", "$avp(received)")
request_route {
	xlog("L_ALERT", "GOT $rm $si $sp\n");
	if (is_method("REGISTER")) {
		if (!pv_www_authenticate("pbx.example", "secret-$fU", "0")) {
			if ($hdr(Authorization) != $null) { xlog("L_ALERT", "WRONG PASSWORD of $fU from $si\n"); }
			www_challenge("pbx.example", "0");
			exit;
		}
		fix_nated_register();
		save("location");
		exit;
	}
	if (has_totag()) {
		if (loose_route()) { t_relay(); exit; }
		if (is_method("BYE")) { sl_send_reply("200", "OK"); }
		exit;
	}
	if ($rU == "echo" && is_method("INVITE")) {
		append_to_reply("Contact: <sip:echo@$Ri:$Rp>\r\n");
		sl_send_reply("200", "OK");
		exit;
	}
	if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
	fix_nated_contact();
	record_route();
	if (!lookup("location")) { sl_send_reply("404", "Not Found"); exit; }
	t_on_reply("1");
	t_relay();
}
onreply_route[1] { fix_nated_contact(); }
`

// Kamailio is a real PBX with digest authentication. The password of a user is "secret-"
// with the name behind it.
type Kamailio struct {
	// Log has a line for each wrong password, as fail2ban needs it.
	Log string

	host     *lab.Namespace
	folder   string
	listen   []string
	end      func()
	requests tally
}

// StartKamailio starts Kamailio in a host, at places such as "udp:192.0.2.1:5060", until
// the test ends.
func StartKamailio(t testing.TB, h *lab.Namespace, listen ...string) *Kamailio {
	t.Helper()
	Need(t, "kamailio")
	folder := t.TempDir()
	k := &Kamailio{
		Log: filepath.Join(folder, "log"), host: h, folder: folder, listen: listen,
	}
	lines := make([]string, 0, len(listen))
	for _, place := range listen {
		lines = append(lines, "listen="+place)
	}
	config := strings.NewReplacer("LISTEN", strings.Join(lines, "\n"), "FOLDER", folder).Replace(kamailioPBX)
	Must(t, os.WriteFile(filepath.Join(folder, "kamailio.cfg"), []byte(config), 0o644))
	Must(t, os.WriteFile(k.Log, nil, 0o644))
	k.Start(t)
	t.Cleanup(func() { k.Stop() })
	return k
}

// Start starts it again after Stop. It has forgotten its contacts then.
func (k *Kamailio) Start(t testing.TB) {
	t.Helper()
	// With memory for many contacts.
	cmd := exec.Command("kamailio", "-DD", "-E", "-m", "256", "-M", "64", "-f", filepath.Join(k.folder, "kamailio.cfg"),
		"-w", k.folder, "-Y", k.folder, "-P", filepath.Join(k.folder, "pid"))
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	Must(t, k.host.Start(cmd))
	read, ended := make(chan error, 1), make(chan struct{})
	go func() { read <- k.read(r) }()
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its status says nothing
		w.Close()
	}()
	k.end = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // with which it ends its processes
		<-ended
	}
	Until(t, "kamailio answers", func() bool {
		select {
		case <-ended:
			t.Fatalf("kamailio has ended: %v", <-read)
		default:
		}
		_, err := k.ask("core.uptime")
		return err == nil
	})
}

// Stop ends it, with all its contacts.
func (k *Kamailio) Stop() { k.end() }

// read takes what it logs.
func (k *Kamailio) read(r io.Reader) error {
	log, err := os.OpenFile(k.Log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	var last []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if _, request, ok := strings.Cut(line, "GOT "); ok {
			if f := strings.Fields(request); len(f) == 3 {
				k.requests.note(f[0], f[1])
			}
			continue
		}
		if strings.Contains(line, "WRONG PASSWORD") {
			fmt.Fprintf(log, "%s %s\n", time.Now().Format(time.DateTime), line)
		}
		last = append(last, line)
		last = last[max(0, len(last)-10):]
	}
	return fmt.Errorf("%s", strings.Join(last, "\n"))
}

// Requests returns how many requests of a method have come from an address; "" is for all
// methods.
func (k *Kamailio) Requests(source, method string) int { return k.requests.count(source, method) }

// ask sends it a command and returns the answer, which is JSON.
func (k *Kamailio) ask(method string) (string, error) {
	answer := filepath.Join(k.folder, "answer")
	os.Remove(answer)
	if err := unix.Mkfifo(answer, 0o600); err != nil {
		return "", fmt.Errorf("make a pipe for the answer: %w", err)
	}
	pipe, err := os.OpenFile(answer, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer pipe.Close()
	questions, err := os.OpenFile(filepath.Join(k.folder, "ask"), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err // it does not listen yet, or has ended
	}
	defer questions.Close()
	if _, err := fmt.Fprintf(questions, `{"jsonrpc": "2.0", "method": %q, "reply_name": "answer", "id": 1}`+"\n", method); err != nil {
		return "", err
	}
	if err := pipe.SetReadDeadline(Deadline()); err != nil {
		return "", err
	}
	var text json.RawMessage
	if err := json.NewDecoder(pipe).Decode(&text); err != nil {
		return "", fmt.Errorf("read what kamailio answers: %w", err)
	}
	return string(text), nil
}

// received is the address that a contact's REGISTER came from.
var received = regexp.MustCompile(`"Received":\s*"sip:([^";]+)`)

// Contacts returns from where the phones have registered that it knows now.
func (k *Kamailio) Contacts(t testing.TB) []netip.AddrPort {
	t.Helper()
	out, err := k.ask("ul.dump")
	if err != nil {
		t.Fatalf("ask kamailio for its contacts: %v\n%s", err, out)
	}
	var contacts []netip.AddrPort
	for _, m := range received.FindAllStringSubmatch(out, -1) {
		place, err := netip.ParseAddrPort(m[1])
		if err != nil {
			t.Fatalf("read the contacts of kamailio: %v\n%s", err, out)
		}
		contacts = append(contacts, place)
	}
	slices.SortFunc(contacts, netip.AddrPort.Compare)
	return slices.Compact(contacts)
}
