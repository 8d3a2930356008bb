package demo

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
)

// password stands for the right answer to the PBX's question.
const password = "right"

// answerTo is what the PBX answers to a packet: nothing, unless that is a REGISTER.
func answerTo(packet []byte) []byte {
	if !bytes.HasPrefix(packet, []byte("REGISTER ")) {
		return nil
	}
	if bytes.Contains(packet, []byte("response=\""+password+"\"")) {
		return []byte("SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
	return []byte("SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"pbx\", nonce=\"1\"\r\nContent-Length: 0\r\n\r\n")
}

// caller is a phone, or somebody who says so, with one socket.
type caller struct {
	probe
	conn net.Conn
}

// caller opens the socket of a caller.
func (d *Demo) caller(who string, host *lab.Namespace, from string) (*caller, error) {
	c := &caller{probe: probe{
		who: who, sender: host, from: from, to: netip.AddrPortFrom(netip.MustParseAddr(pbx4), 5060), listener: d.atPBX, fence: d.pbx,
	}}
	err := host.Do(func() (err error) {
		own := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
		c.conn, err = net.DialUDP("udp", own, net.UDPAddrFromAddrPort(c.to))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the socket of the %s: %w", who, err)
	}
	return c, nil
}

// sends sends a request from a caller's socket and returns what becomes of it. The answer
// to a REGISTER is awaited.
func (d *Demo) sends(ctx context.Context, c *caller, method, response string) (string, error) {
	message := lab.Message(method, c.from, pbx4, "phone")
	if response != "" {
		line := fmt.Sprintf("\r\nAuthorization: Digest username=\"100\", realm=\"pbx\", nonce=\"1\", response=%q\r\nContent-Length", response)
		message = bytes.Replace(message, []byte("\r\nContent-Length"), []byte(line), 1)
	}
	is, err := d.fateOf(ctx, c.probe, func(context.Context) { _, _ = c.conn.Write(message) })
	if err != nil || is != arrives || method != "REGISTER" {
		return is, err
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(d.Wait)); err != nil {
		return "", err
	}
	if _, err := c.conn.Read(make([]byte, 1024)); err != nil {
		return lost, nil //nolint:nilerr // an answer that does not come is an outcome
	}
	return is, nil
}

// step adds a step to the report, and prints it.
func (d *Demo) step(step, from, text, is string, ok bool) {
	d.report.Steps = append(d.report.Steps, Action{step, from, is, ok})
	d.report.OK = d.report.OK && ok
	d.printf("  -> %s%s", text, d.wrong(ok))
}

// registering is what the policy has for phones that register. Native rules alone learn
// them, so the demo does not wait for another classifier.
func (d *Demo) registering() string {
	text := "unknown: {action: register}\n"
	if !d.WithoutClassifier {
		text += "signatures: {engine: \"off\"}\n"
	}
	return text
}

// roaming lets a phone register from anywhere, and somebody guess passwords.
func (d *Demo) roaming(ctx context.Context) error {
	d.atPBX.Answer(answerTo)
	d.printf("\nA phone is on the road. Nobody knows its address, so strangers may register at\nthe PBX, and nothing else before it has accepted their password.")
	if err := d.writePolicy(d.pbx, d.policy("sip.acme.example", d.registering())); err != nil {
		return err
	}
	if _, err := d.onHost(ctx, d.pbx, "apply"); err != nil {
		return err
	}
	d.printf("\npbx# ringfence apply\n  now with unknown.action: register, which needs no classifier")
	phone, err := d.caller("phone on the road", d.road, road4)
	if err != nil {
		return err
	}
	defer phone.conn.Close()
	for _, s := range []struct {
		step, method, response, is string
	}{
		{"the phone calls", "INVITE", "", dropped},
		{"it registers, and is asked for its password", "REGISTER", "", arrives},
		{"it registers with its password", "REGISTER", password, arrives},
		{"it calls", "INVITE", "", arrives},
	} {
		is, err := d.sends(ctx, phone, s.method, s.response)
		if err != nil {
			return err
		}
		d.step(s.step, road4, fmt.Sprintf("%s: its %s %s", s.step, s.method, d.shade(is)), is, is == s.is)
	}
	if err := d.command(ctx, d.pbx, "phones"); err != nil {
		return err
	}
	return d.guessing(ctx)
}

// guesses is how many passwords are tried, and mostGuesses how many of them may arrive.
const (
	guesses     = 25
	mostGuesses = 11
)

// guessing tries passwords from the scanner's address, without a scanner's name.
func (d *Demo) guessing(ctx context.Context) error {
	guesser, err := d.caller("guesser", d.scanner, scanner4)
	if err != nil {
		return err
	}
	defer guesser.conn.Close()
	arrived, out := 0, 0
	for i := range guesses {
		is, err := d.sends(ctx, guesser, "REGISTER", fmt.Sprint("guess", i))
		if err != nil {
			return err
		}
		switch is {
		case arrives:
			arrived++
		case dropped:
			out++
		}
	}
	ok := arrived > 0 && arrived <= mostGuesses && arrived+out == guesses
	d.printf("\nSomebody guesses the phone's password, without a scanner's name.")
	d.step("somebody guesses passwords", scanner4, fmt.Sprintf("of %d guesses %d arrive, and the others are dropped: %s is banned", guesses, arrived, scanner4),
		fmt.Sprintf("%d of %d arrive", arrived, guesses), ok)
	return nil
}
