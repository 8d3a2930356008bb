package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// Why is the object that why prints.
type Why struct {
	Address  string `json:"address"`
	Verdict  string `json:"verdict"` // allowed or dropped
	WouldBe  bool   `json:"would_be_dropped"`
	By       string `json:"by"`
	Reason   string `json:"reason"`
	Text     string `json:"text"`
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
	// Interface is the one that the packet was taken to come in by.
	Interface string `json:"interface"`
	// Rule is the one that decided, and Chain where it is; "" if none did.
	Chain string `json:"chain"`
	Rule  string `json:"rule"`
	// LastDropped is when a packet of the address was dropped last, null if that is not
	// known. Packets is how many were, as far as that is known.
	LastDropped *time.Time `json:"last_dropped"`
	Packets     uint64     `json:"packets"`
}

// WhyOf makes the object of an answer.
func WhyOf(a site.Answer, now time.Time) Why {
	w := Why{
		Address: a.Address.String(), Verdict: "allowed", WouldBe: a.WouldDrop, By: strings.Join(a.By, ", "), Reason: a.Reason,
		Protocol: string(a.Protocol), Port: a.Port, Interface: a.Interface, Chain: a.Rule.Chain, Rule: a.Rule.Text,
	}
	if !a.Allowed {
		w.Verdict = "dropped"
	}
	if l := a.Lately; l != nil {
		w.LastDropped, w.Packets = &l.Last, l.Packets
	}
	if !a.Allowed || a.WouldDrop {
		w.Text = droppedText(a, now)
	} else {
		w.Text = allowedText(a, now)
	}
	return w
}

// allowedText says why a packet passes.
func allowedText(a site.Answer, now time.Time) string {
	text := "allowed: "
	switch a.Reason {
	case "no_fence":
		text += "there is no fence in the kernel, so everything passes: ringfence apply or ringfence up puts it up"
	case "port":
		text += fmt.Sprintf("port %d of %s is not fenced (%s)", a.Port, strings.ToUpper(string(a.Protocol)), portsText(a.Fenced))
	case "interface":
		text += fmt.Sprintf("what comes in by %s is not judged: the policy's interfaces do not name it", interfaceText(a.Interface))
	case "provider", "trusted":
		text = "allowed by " + originsText(a)
	case "by_hand":
		text = "allowed by hand" + temporaryText(a.Temporary, a.Guessing) + "; ringfence disallow " + a.Address.String() + " ends that"
	case "reply":
		text += "it answers what this host or its network has opened (unknown.allow_replies)"
	case "registered":
		text += "the SIP server has accepted its registration" + phoneText(a.Phone, now)
	case site.ReasonForeign:
		text += foreignText(a)
	default:
		text += "nobody lists it, and unknown.action lets everybody in"
	}
	if l := a.Lately; l != nil {
		text += fmt.Sprintf("; before that it was not%s: %s", in(l.Reason), packetsText(l, now))
	}
	if a.Reason == site.ReasonForeign {
		text += ": " + adviceText(a)
	}
	return text
}

// foreignText says that no rule of the fence has decided.
func foreignText(a site.Answer) string {
	return fmt.Sprintf("another program's rule in chain %s decides (%s)", a.Rule.Chain, a.Rule.Text)
}

func portsText(ports []uint16) string {
	if len(ports) == 0 {
		return "none is"
	}
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = fmt.Sprint(p)
	}
	return strings.Join(texts, ", ") + map[bool]string{true: " is", false: " are"}[len(ports) == 1]
}

func interfaceText(name string) string { return cmp.Or(name, "an unknown interface") }

// originsText says who lets an address in, by which records, and when they were seen.
func originsText(a site.Answer) string {
	var texts []string
	for _, o := range a.Origins {
		text := o.String()
		if o.Prefix.IsValid() && !o.Prefix.IsSingleIP() {
			text += " " + o.Prefix.String()
		}
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		texts = []string{a.Rule.Text} // the table holds what nothing explains
	}
	text := strings.Join(texts, "; ")
	switch {
	case !a.Missing.IsZero():
		text += ", and no answer has it since " + momentText(a.Missing, time.Time{})
	case !a.Seen.IsZero():
		text += ", seen " + notice.Ago(a.Seen)
	}
	return text
}

// temporaryText says who did it, and how long it lasts.
func temporaryText(t *site.Temporary, guessing bool) string {
	if t == nil {
		return ""
	}
	text := " " + t.Why
	if t.Why == "" {
		text = " by a rule, because it sent what a scanner sends"
		if guessing {
			text += ", or failed to log in too often"
		}
	}
	if t.Left > 0 {
		text += ", " + policy.DurationText(t.Left.Truncate(time.Second)) + " left"
	}
	return text
}

// phoneText says from where a phone gets in, and until when.
func phoneText(p *site.Registered, now time.Time) string {
	if p == nil {
		return ""
	}
	from, others := "", ""
	if p.Port != 0 {
		from, others = fmt.Sprintf(" from port %d", p.Port), "; from other ports only a REGISTER passes"
	}
	return fmt.Sprintf("%s; it gets in until %s, if it does not register again%s", from, momentText(now.Add(p.Left), now), others)
}

// momentText writes a time of today without the date.
func momentText(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	switch {
	case t.Year() == now.Year() && t.YearDay() == now.YearDay():
		return t.Format("15:04")
	case now.IsZero() || t.Year() == now.Year():
		return t.Format("2 Jan 15:04")
	}
	return t.Format("2 Jan 2006 15:04")
}

// droppedText says why a packet does not pass, or would not, and what to do about it.
func droppedText(a site.Answer, now time.Time) string {
	text := "dropped: "
	if a.WouldDrop {
		text = "allowed in monitor mode, and would be dropped: "
	}
	address := a.Address.String()
	if a.Reason == site.ReasonForeign {
		text += foreignText(a)
	} else {
		text += a.Reason
	}
	switch a.Reason {
	case "spoofed":
		text += fmt.Sprintf(", it looks forged: answers to %s leave by %s, and this came in by %s",
			address, cmp.Or(strings.Join(a.Ways, " or "), "no interface"), interfaceText(a.Interface))
	case "blocked":
		text += fmt.Sprintf(", banned by the policy for good: bans.addresses %s", a.Element)
	case "banned":
		text += temporaryText(a.Temporary, a.Guessing)
	case "method":
		text += ", the SIP server has not accepted a registration of it, and until then only a REGISTER passes"
	case "rate":
		text += ", it sends more REGISTERs than unknown.rate allows"
	case "signature":
		text += ", it sends what a scanner sends" + in(a.Signature)
	case "user_agent":
		text += ", only requests pass whose User-Agent begins with " + strings.Join(a.Required, " or ")
	}
	switch {
	case strings.HasPrefix(a.Former, "was "):
		text += "; it " + a.Former
	case a.Former != "":
		text += "; " + a.Former
	}
	if l := a.Lately; l != nil {
		text += "; " + packetsText(l, now) + sentText(l)
	}
	if advice := adviceText(a); advice != "" {
		text += ": " + advice
	}
	return text
}

func in(name string) string {
	if name == "" {
		return ""
	}
	return " (" + name + ")"
}

func packetsText(l *site.Lately, now time.Time) string {
	text := notice.Count(int(l.Packets), "packet")
	if !l.First.IsZero() {
		text += " since " + momentText(l.First, now)
	}
	return text + ", last " + notice.Ago(l.Last)
}

// sentText says what was in the last packet.
func sentText(l *site.Lately) string {
	text := ""
	if l.Method != "" {
		text += ", " + l.Method
	}
	if l.Called != "" {
		text += " of " + l.Called
	}
	if l.UserAgent != "" {
		text += " by " + l.UserAgent
	}
	if l.Reason == site.ReasonSignature && l.Signature == "" {
		text += ", it sent what a scanner sends"
	}
	return text + in(l.Signature)
}

// adviceText says what the source may be, and what lets it in then.
func adviceText(a site.Answer) string {
	address := a.Address.String()
	switch a.Reason {
	case "spoofed":
		return "if that network has two ways on purpose, list it in trusted.asymmetric"
	case "blocked":
		return "to let it in, remove that line and apply"
	case "banned":
		return "ringfence unban " + address + " ends that"
	case site.ReasonForeign:
		return "ringfence diff shows it, and ringfence refresh removes it"
	case "signature", "user_agent", "method", "rate":
		return ""
	}
	byHand := fmt.Sprintf("ringfence allow %s --for 2h", address)
	switch {
	case a.Guess == site.Scanner:
		return "a scanner, nothing to do"
	case a.Guess == site.Phone:
		return fmt.Sprintf("a remote phone? %s, or add it to trusted.addresses", byHand)
	case a.Preset != "":
		return fmt.Sprintf("a server of %s? %s, or add to providers: - preset: %s", a.Preset, byHand, a.Preset)
	case a.Guess == site.Server && a.Provider != "":
		return fmt.Sprintf("another server of %s? %s, or add %s to the addresses of provider %s", a.Provider, byHand, address, a.Provider)
	case a.Guess == site.Server:
		return fmt.Sprintf("your provider's server? %s, or add to providers: - {name: my-provider, addresses: [%q]}", byHand, address)
	case a.Address.IsPrivate():
		return fmt.Sprintf("a phone of your own network? %s, or add %s to trusted.addresses", byHand, networkOf(a.Address))
	}
	return fmt.Sprintf("if it is yours: %s, or add it to trusted.addresses", byHand)
}

// networkOf is the network that a private address most likely belongs to.
func networkOf(a netip.Addr) string {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	return ruleset.PrefixText(netip.PrefixFrom(a, bits).Masked())
}
