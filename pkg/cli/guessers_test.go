package cli_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

const beside4, beside6 = "198.51.101.10", "2001:db8:101::10" // the PBX behind fail2ban

// guessings are what guessers do to a PBX. HOST is the victim.
var guessings = []struct {
	name, command string
	// most is how many of its requests may reach a PBX behind the fence: as many
	// REGISTERs as may fail, and those that are under way before the first answer.
	most int
}{
	{"svmap", "svmap -p 5060 HOST", 0},
	{"svmap with INVITE", "svmap -p 5060 -m INVITE HOST", 0},
	{"svwar", "svwar -p 5060 -e 100-999 --force HOST", 25},
	{"svwar with INVITE", "svwar -p 5060 -m INVITE -e 100-999 --force HOST", 0},
	{"svcrack", "svcrack -p 5060 -u 100 -r 1-2000 HOST", 25},
	{"svcrack with one nonce", "svcrack -p 5060 -n -u 100 -r 1-2000 HOST", 25},
	{"a guess in 10 s", "", 50}, // each is two requests, and both are refused
	{"a guess in 10 s with one nonce", "", 50},
}

// TestGuessersBesideFail2ban lets guessers try two PBXs at once for the same time: one behind the fence
// and one with fail2ban, which reads the log of its Kamailio and bans after as many wrong
// passwords. Signatures are off: they would end it at the first packet.
func TestGuessersBesideFail2ban(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("fail2ban-server"); err != nil && os.Getenv("CI") == "" {
		// Its package starts a service that changes the firewall of the machine.
		t.Skip("this machine has no fail2ban-server")
	}
	labtest.Need(t, "svmap", "svwar", "svcrack", "fail2ban-server")
	r := newRoads(t, toRegister+"signatures: {engine: off}\n")
	other := labtest.Host(t, "beside")
	r.attach(t, other, "beside", "198.51.101.1/24", "2001:db8:101::1/64", beside4+"/24", beside6+"/64")
	beside := labtest.StartKamailio(t, other, "udp:"+beside4+":5060", "tcp:"+beside4+":5060")
	fail2ban(t, other, beside.Log)
	last := time.Duration(labtest.Count(5, 240)) * time.Second
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	sources := make([]string, len(guessings))
	for i, g := range guessings {
		h, source, _ := r.stranger(t, i+2)
		sources[i] = source
		for _, victim := range []string{pbx4, beside4} {
			if g.command == "" {
				all.Go(func() { guessSlowly(ctx, t, h, victim, strings.Contains(g.name, "one nonce")) })
				continue
			}
			guess(ctx, t, &all, h, strings.ReplaceAll(g.command, "HOST", victim))
		}
	}
	p := r.phone(t, "udp", homeInside+":5070", "honest")
	isAccepted(t, p)
	for i, g := range guessings {
		until(t, g.name+" reaches the PBX that has no fence", func() bool { return beside.Requests(sources[i], "") > 0 })
	}
	<-time.After(last) // in which they get as far as they can
	stop()
	all.Wait()
	for i, g := range guessings {
		fenced, open := r.kamailio.Requests(sources[i], ""), beside.Requests(sources[i], "")
		t.Logf("%-30s in %s: %4d requests reach the PBX behind the fence, %5d that with fail2ban", g.name, last, fenced, open)
		if fenced > g.most {
			t.Errorf("%s: %d requests reach the PBX, want at most %d", g.name, fenced, g.most)
		}
		for _, method := range []string{"INVITE", "OPTIONS"} {
			if n := r.kamailio.Requests(sources[i], method); n != 0 {
				t.Errorf("%s: %d %s have reached the PBX", g.name, n, method)
			}
		}
	}
	getsThrough(t, p, true)
}

// guess runs a guesser until the context ends.
func guess(ctx context.Context, t *testing.T, all *sync.WaitGroup, h *lab.Namespace, command string) {
	t.Helper()
	args := strings.Fields(command)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.WaitDelay = t.TempDir(), time.Second
	labtest.Must(t, h.Start(cmd))
	all.Go(func() { cmd.Wait() }) // it is ended, or gives up
}

// guessSlowly tries a password each 10 seconds until the context ends, with an answer to a
// question of the PBX's each time, or always to the first one.
func guessSlowly(ctx context.Context, t *testing.T, h *lab.Namespace, victim string, oneNonce bool) {
	t.Helper()
	p, err := labtest.NewPhone(ctx, h, "udp", "0.0.0.0:0", victim+":5060", "100")
	if err != nil {
		t.Error(err)
		return
	}
	defer p.Close()
	next := time.NewTicker(10 * time.Second)
	defer next.Stop()
	for n := 0; ; n++ {
		p.Password = fmt.Sprint("guess", n)
		guess := p.Register
		if oneNonce {
			guess = p.RegisterAgain
		}
		if status, err := guess(300, 3*time.Second); status == 200 || err != nil {
			t.Errorf("a guess is answered with %d, %v", status, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
	}
}

// fail2ban runs fail2ban in a host until the test ends. It bans for an hour who has sent
// ten wrong passwords in a minute, as the fence does.
func fail2ban(t *testing.T, h *lab.Namespace, log string) {
	t.Helper()
	folder := t.TempDir()
	labtest.Must(t, os.CopyFS(folder, os.DirFS("/etc/fail2ban")))
	for name, content := range map[string]string{
		"filter.d/pbx.conf": "[Definition]\nfailregex = WRONG PASSWORD of \\S+ from <HOST>$\n",
		"fail2ban.local": fmt.Sprintf("[Definition]\nlogtarget = STDOUT\nsocket = %[1]s/s\npidfile = %[1]s/pid\ndbfile = None\n",
			folder),
		"jail.d/defaults-debian.conf": "",
		"jail.local": fmt.Sprintf("[DEFAULT]\nbanaction = nftables[type=allports]\n[pbx]\nenabled = true\nfilter = pbx\nlogpath = %s\n"+
			"backend = polling\nmaxretry = 10\nfindtime = 60\nbantime = 3600\nprotocol = udp\n", log),
	} {
		labtest.Must(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644))
	}
	daemon(t, h, "Jail 'pbx' started", "fail2ban-server", "-f", "-x", "-v", "-c", folder, "-s", folder+"/s", "-p", folder+"/pid", "start")
}

// TestGuesserIsOut: the PBX gets as many wrong passwords as the policy says, by UDP and by
// TCP, and the call of a phone meanwhile.
func TestGuesserIsOut(t *testing.T) { eachPBX(t, testGuesserIsOut) }

func testGuesserIsOut(t *testing.T, pbx string) {
	t.Helper()
	r := newRoadsTo(t, pbx, "unknown: {action: register, rate: 1000/min}\nguessing: {within: 1h}\n")
	p := r.phone(t, "udp", homeInside+":5070", "honest")
	isAccepted(t, p)
	for i, transport := range []string{"udp", "tcp"} {
		h, source, _ := r.stranger(t, i+2)
		guesser, err := labtest.NewPhone(t.Context(), h, transport, source+":5070", pbx4+":5060", "100")
		labtest.Must(t, err)
		defer guesser.Close()
		for n := 0; ; n++ {
			guesser.Password = fmt.Sprint("guess", n)
			status, err := guesser.Register(300, 3*time.Second)
			labtest.Must(t, err)
			if status == 0 {
				break
			}
		}
		// Each guess is two requests, and the first is refused too.
		if n := r.server.Requests(source, ""); n != 10 {
			t.Errorf("%s: %d requests of a guesser reach the PBX, want 10", transport, n)
		}
		getsThrough(t, p, true)
	}
}

// TestBanIsAtOnce: who has failed as often as the policy allows is out with the answer that
// says so: the ban is there when the PBX has sent it. What is measured is how long the PBX
// takes to send that answer, so the ban takes less.
func TestBanIsAtOnce(t *testing.T) {
	t.Parallel()
	w := newCloud(t)
	labtest.Run(t, w.pbx, "ip", "route", "add", "198.18.0.0/16", "dev", "eth0")
	s := newSite(t, w.pbx, registerPolicy+"guessing: {within: 1h}\n")
	s.must(t, 0, "apply")
	n := labtest.Count(5, 200)
	for i, network := range []string{"udp", "tcp"} {
		times := make([]time.Duration, 0, n)
		for g := range n {
			from := fmt.Sprintf("198.18.%d.%d", i, g+1)
			labtest.Must(t, w.outside.AddAddress("eth0", from+"/32"))
			p := w.caller(t, network, from, 0)
			var last string
			for range 10 {
				var text string
				text, last = w.request("REGISTER", bad)
				w.write(t, p, text)
				if status := p.status(t); status != "401" {
					t.Fatalf("a wrong password was answered with %s", status)
				}
			}
			labtest.Until(t, "the answer is sent", func() bool { return w.registrar.sent(last) > 0 })
			times = append(times, w.registrar.sent(last))
			text, id := w.request("REGISTER", good)
			w.write(t, p, text)
			w.mark(t)
			if w.registrar.has(id) {
				t.Errorf("%s: a REGISTER has arrived right after the failure that was too much", network)
			}
			labtest.Must(t, p.Close())
		}
		slices.Sort(times)
		if len(s.banned(t)) != (i+1)*n {
			t.Errorf("%s: of %d guessers %d are banned", network, (i+1)*n, len(s.banned(t)))
		}
		t.Logf("%s: %d guessers are banned while the answer is sent that is too much, which takes %s (median), %s (longest)", network, n, times[n/2], times[n-1])
	}
}

// TestSlowGuesser: a wrong password every ten seconds. A guess is two requests, so that is
// more than ten failures a minute, and its address is banned after some minutes.
func TestSlowGuesser(t *testing.T) {
	t.Parallel()
	r := newRoads(t, toRegister)
	h, source, _ := r.stranger(t, 9)
	guesser, err := labtest.NewPhone(t.Context(), h, "udp", source+":5070", pbx4+":5060", "100")
	labtest.Must(t, err)
	defer guesser.Close()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	answered, guesses := 0, labtest.Count(1, 60)
	for i := range guesses {
		if i > 0 {
			<-tick.C
		}
		guesser.Password = fmt.Sprint("guess", i)
		status, err := guesser.Register(300, time.Second)
		labtest.Must(t, err)
		if status == 200 {
			t.Fatal("the guess is right")
		}
		if status != 0 {
			answered++
		}
	}
	t.Logf("of %d guesses, one in 10s, %d are answered; %d requests reach the PBX", guesses, answered, r.kamailio.Requests(source, ""))
	if guesses >= 60 && answered > 40 {
		t.Errorf("of %d guesses %d are answered: the guesser is not banned", guesses, answered)
	}
}
