package classifier_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

const (
	pbx4, outside4 = "192.0.2.10", "192.0.2.200"
	pbx6, outside6 = "2001:db8::10", "2001:db8::200"
)

// pair is a PBX, and a host outside.
func pair(t testing.TB) (pbx, outside *lab.Namespace) {
	t.Helper()
	needBPF(t)
	pbx, outside = labtest.Host(t, "pbx"), labtest.Host(t, "outside")
	labtest.Link(t,
		lab.End{Host: pbx, Interface: "eth0", Addresses: []string{pbx4 + "/24", pbx6 + "/64"}},
		lab.End{Host: outside, Interface: "eth0", Addresses: []string{outside4 + "/24", outside6 + "/64"}})
	return pbx, outside
}

// answer takes in what comes by UDP and TCP to port 5060, so that scanners go on.
func answer(t *testing.T, h *lab.Namespace) {
	t.Helper()
	for _, address := range []string{pbx4, pbx6} {
		sink, err := labtest.NewSink(t.Context(), h, net.JoinHostPort(address, "5060"))
		labtest.Must(t, err)
		t.Cleanup(func() { sink.Close() })
		var listener net.Listener
		labtest.In(t, h, func() (err error) {
			listener, err = net.Listen("tcp", net.JoinHostPort(address, "5060"))
			return err
		})
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					io.Copy(io.Discard, conn)
				}()
			}
		}()
	}
}

// TestRealScanners runs the tools themselves and wants each one named.
func TestRealScanners(t *testing.T) {
	labtest.Need(t, "svmap", "svwar", "svcrack", "sipsak", "nmap", "sipp")
	l := loaded(t, signaturetest.Shipped())
	scans := []struct {
		name, command string
		names         []string // the first must be counted, the others may
	}{
		{"svmap", "svmap -p 5060 PBX4", []string{"sipvicious-callee"}},
		{"svmap with INVITE", "svmap -p 5060 -m INVITE PBX4", []string{"sipvicious-callee"}},
		{"svmap, compact", "svmap -p 5060 -c PBX4", []string{"sipvicious-callee"}},
		{"svmap, IPv6", "svmap -p 5060 -6 PBX6", []string{"sipvicious-callee"}},
		{"svwar", "svwar -p 5060 -m INVITE -e 100-105 PBX4", []string{"friendly-scanner"}},
		{"svcrack", "svcrack -p 5060 -u 100 -r 1-20 PBX4", []string{"svcrack-tag", "friendly-scanner"}},
		{"sipsak", "sipsak -H OUTSIDE4 -s sip:100@PBX4:5060", []string{"sipsak-address", "sipsak"}},
		{"sipsak by TCP", "sipsak -H OUTSIDE4 -E tcp -s sip:100@PBX4:5060", []string{"sipsak-address", "sipsak"}},
		{"nmap", "nmap -n -Pn -sU -p 5060 --script sip-methods PBX4", []string{"nmap", "nmap-address"}},
		{"nmap by TCP", "nmap -n -Pn -sT -p 5060 --script sip-methods PBX4", []string{"nmap", "nmap-address"}},
		{"nmap, IPv6", "nmap -6 -n -Pn -sU -p 5060 --script sip-methods PBX6", []string{"nmap", "nmap-address"}},
		{"nmap by TCP, IPv6", "nmap -6 -n -Pn -sT -p 5060 --script sip-methods PBX6", []string{"nmap", "nmap-address"}},
		{"nmap, users", "nmap -n -Pn -sU -p 5060 --script sip-enum-users --script-args sip-enum-users.padding=4,sip-enum-users.minext=100,sip-enum-users.maxext=103 PBX4", []string{"nmap", "nmap-address"}},
		{"nmap, versions", "nmap -n -Pn -sU -sV -p 5060 PBX4", []string{"nmap-address"}},
		{"nmap, versions by TCP", "nmap -n -Pn -sT -sV -p 5060 PBX4", []string{"nmap-address"}},
		{"sipp", "sipp -sn uac -m 1 -nostdin -i OUTSIDE4 PBX4:5060", []string{"sipp-address", "sipp-subject"}},
		{"sipp by TCP", "sipp -sn uac -m 1 -t t1 -nostdin -i OUTSIDE4 PBX4:5060", []string{"sipp-address", "sipp-subject"}},
		{"sipp, IPv6", "sipp -sn uac -m 1 -nostdin -i OUTSIDE6 [PBX6]:5060", []string{"sipp-address", "sipp-subject"}},
	}
	var group sync.WaitGroup
	patience, stop := context.WithDeadline(t.Context(), labtest.Deadline())
	defer stop()
	for _, scan := range scans {
		pbx, outside := pair(t)
		answer(t, pbx)
		change(t, pbx, fresh(t, l), "eth0")
		ctx, cancel := context.WithCancel(patience)
		defer cancel()
		args := strings.Fields(strings.NewReplacer("PBX4", pbx4, "PBX6", pbx6, "OUTSIDE4", outside4, "OUTSIDE6", outside6).Replace(scan.command))
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir, cmd.WaitDelay = t.TempDir(), time.Second
		labtest.Must(t, outside.Start(cmd))
		group.Go(func() {
			ended := make(chan struct{})
			go func() {
				cmd.Wait() // a scanner that finds nobody may say so by its status
				close(ended)
			}()
			// Some would go on for minutes.
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for on := true; on && hits(t, pbx)[scan.names[0]] == 0; {
				select {
				case <-ended:
					on = false
				case <-tick.C:
				}
			}
			cancel()
			<-ended
			found := hits(t, pbx)
			t.Logf("%s: %v", scan.name, found)
			if found[scan.names[0]] == 0 {
				t.Errorf("%s was not counted as %s, but as %v", scan.name, scan.names[0], found)
			}
			for name := range found {
				if !slices.Contains(scan.names, name) {
					t.Errorf("%s was counted as %s too", scan.name, name)
				}
			}
		})
	}
	group.Wait()
}

// fresh loads a new program, so that its counters are its own.
func fresh(t *testing.T, l *classifier.Loaded) *classifier.Loaded {
	t.Helper()
	again, err := l.Load()
	labtest.Must(t, err)
	t.Cleanup(again.Close)
	return again
}

const scenario = `<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="scanner"><send><![CDATA[
OPTIONS sip:pbx@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:x@[local_ip]>;tag=[call_number]
To: <sip:pbx@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 OPTIONS
User-Agent: [field0]
Max-Forwards: 70
Content-Length: 0

]]></send><recv response="200"/></scenario>
`

// reply answers each request with 200, by UDP and TCP.
func reply(t *testing.T, h *lab.Namespace, address string) {
	t.Helper()
	var packets net.PacketConn
	var listener net.Listener
	labtest.In(t, h, func() (err error) {
		if packets, err = net.ListenPacket("udp", address); err != nil {
			return err
		}
		listener, err = net.Listen("tcp", address)
		return err
	})
	t.Cleanup(func() { packets.Close(); listener.Close() })
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			packets.WriteTo(replyTo(string(buf[:n])), from)
		}
	}()
	go func() {
		conn, err := listener.Accept() // sipp makes one connection for all
		if err != nil {
			return
		}
		defer conn.Close()
		var request strings.Builder
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			request.WriteString(lines.Text() + "\n")
			if lines.Text() == "" {
				conn.Write(replyTo(request.String()))
				request.Reset()
			}
		}
	}()
}

// replyTo is the shortest answer to a request.
func replyTo(request string) []byte {
	reply := "SIP/2.0 200 OK\r\n"
	for line := range strings.Lines(request) {
		switch name, _, _ := strings.Cut(line, ":"); name {
		case "Via", "From", "To", "Call-ID", "CSeq":
			reply += strings.TrimRight(line, "\r\n") + "\r\n"
		}
	}
	return []byte(reply + "Content-Length: 0\r\n\r\n")
}

// TestUserAgentsOfTheList has sipp send each User-Agent of the list, and wants each
// counted: once by UDP, and by TCP, which sends again what is not acknowledged in
// time, at least once.
func TestUserAgentsOfTheList(t *testing.T) {
	labtest.Need(t, "sipp")
	l := loaded(t, signaturetest.Shipped())
	folder := t.TempDir()
	labtest.Must(t, os.WriteFile(filepath.Join(folder, "scanner.xml"), []byte(scenario), 0o644))
	agents, want := "SEQUENTIAL\n", map[string]uint64{}
	for _, s := range signaturetest.Shipped() {
		if s.Header == "user-agent" {
			agents += s.Value + ";\n"
			want[s.Name] = 1
		}
	}
	labtest.Must(t, os.WriteFile(filepath.Join(folder, "agents.csv"), []byte(agents), 0o644))
	for _, by := range []struct{ name, transport, from, to string }{
		{"UDP", "u1", outside4, pbx4 + ":5060"},
		{"TCP", "t1", outside4, pbx4 + ":5060"},
		{"UDP by IPv6", "u1", outside6, "[" + pbx6 + "]:5060"},
		{"TCP by IPv6", "t1", outside6, "[" + pbx6 + "]:5060"},
	} {
		t.Run(by.name, func(t *testing.T) {
			t.Parallel()
			pbx, outside := pair(t)
			reply(t, pbx, by.to)
			change(t, pbx, fresh(t, l), "eth0")
			// Each waits for the reply to the one before, so that TCP puts it into a
			// segment of its own.
			cmd := exec.CommandContext(t.Context(), "sipp", "-sf", filepath.Join(folder, "scanner.xml"), "-inf", filepath.Join(folder, "agents.csv"),
				"-m", strconv.Itoa(len(want)), "-l", "1", "-r", "1000", "-t", by.transport, "-i", by.from, "-nostdin", "-timeout", "120", by.to)
			cmd.Dir = t.TempDir()
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			labtest.Must(t, outside.Start(cmd))
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			got := hits(t, pbx)
			if strings.HasPrefix(by.transport, "t") {
				for name := range got {
					got[name] = 1
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
