package site

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The reasons for which a packet is dropped: the names of the counters without dropped_.
const (
	ReasonUnknown   = "unknown"
	ReasonSpoofed   = "spoofed"
	ReasonBlocked   = "blocked"
	ReasonBanned    = "banned"
	ReasonSignature = "signature"
	ReasonUserAgent = "user_agent"
	ReasonMethod    = "method"
	ReasonForeign   = "foreign" // no counter: a rule that another program has put into the table
	ReasonRate      = "rate"
)

// Stranger is a source whose packets were dropped.
type Stranger struct {
	Address netip.Addr
	// Reason is that of its last packet, "" if it is not known.
	Reason string
	// Signature is the one that its packet matched, "" if that is not known.
	Signature string
	// Banned says that it is banned for a time, BannedBy by whom, "" for by a rule.
	Banned   bool
	BannedBy string
	// ByHand says that it is allowed by hand.
	ByHand bool
	// Allowed is when it was allowed before, nil if that is not known.
	Allowed *Former
}

// Former is an allowance that has ended.
type Former struct {
	As    string // whose address it was
	Until time.Time
}

// Judged is what is in force, as far as it says why a source was dropped.
type Judged struct {
	State   *ruleset.State
	Origins ruleset.Origins
	// LeftOut says of addresses that answers have why they are not allowed.
	LeftOut map[netip.Addr]string
}

// Judged is what the site asks for.
func (s *Site) Judged() Judged {
	in := Judged{LeftOut: leftOut(s)}
	in.State, in.Origins = s.Compile()
	return in
}

// leftOut says of addresses that answers have why they are not allowed.
func leftOut(s *Site) map[netip.Addr]string {
	why := map[netip.Addr]string{}
	for _, known := range slices.Backward(s.Memory.Names) { // the first name counts
		for _, h := range known.Quarantined {
			why[h.Address] = known.Name + " has this address, which waits for a second answer that has it"
		}
		for _, r := range known.Rejected {
			why[r.Address] = known.Name + " has this address, but " + r.Why
		}
	}
	return why
}

// WhyDropped returns the reason for which a source was dropped, and a sentence about it
// for people. Without the reason of a packet it is worked out from what is in force.
func (s *Site) WhyDropped(in Judged, d Stranger) (reason, text string) {
	allowed := in.allowing(d)
	reason = d.Reason
	if reason == "" {
		reason = likelyReason(s, in, d, allowed != "")
	}
	text = because(s, in, reason, d)
	if allowed != "" && reason != ReasonSpoofed {
		text += "; it is allowed now: " + allowed
	}
	return reason, text
}

// allowing says what allows a source now, "" for nothing.
func (in Judged) allowing(d Stranger) string {
	if d.ByHand {
		return "by hand"
	}
	for _, kind := range []string{"providers", "trusted"} {
		if set := kind + familyOf(d.Address); in.State.Sets[set].Contains(d.Address) {
			if why := in.Origins.Why(set, netip.PrefixFrom(d.Address, d.Address.BitLen())); why != "" {
				return why
			}
			return kind
		}
	}
	return ""
}

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "4"
	}
	return "6"
}

// likelyReason is the reason for which such a source would be dropped now.
func likelyReason(s *Site, in Judged, d Stranger, allowed bool) string {
	private := d.Address.IsPrivate() || d.Address.IsLinkLocalUnicast()
	unknown := s.Policy.Unknown
	switch {
	case in.State.Sets["blocked"+familyOf(d.Address)].Contains(d.Address):
		return ReasonBlocked
	case private && (allowed || unknown.Admits()):
		return ReasonSpoofed
	case d.Banned && unknown.Admits():
		return ReasonBanned
	case unknown.Accepts() && len(unknown.RequireUserAgent) > 0:
		return ReasonUserAgent
	case unknown.Accepts():
		return ReasonSignature
	}
	return ReasonUnknown
}

// because is the sentence for a reason.
func because(s *Site, in Judged, reason string, d Stranger) string {
	switch reason {
	case ReasonUnknown:
		return unknownText(in, d)
	case ReasonSpoofed:
		return "forged: a packet with this address came in where no answer to it leaves"
	case ReasonBlocked:
		return "banned permanently by the policy: bans.addresses"
	case ReasonBanned:
		if d.BannedBy != "" {
			return "banned " + d.BannedBy
		}
		if compile.BansGuessers(s.Policy) {
			return "banned: it sent what a scanner sends, or failed to log in too often"
		}
		return "banned: it sent what a scanner sends"
	case ReasonSignature:
		if d.Signature != "" {
			return "it sent what a scanner sends: " + d.Signature
		}
		return "it sent what a scanner sends"
	case ReasonUserAgent:
		return "its User-Agent is none of unknown.require_user_agent"
	case ReasonMethod:
		return "unknown sources may only register"
	case ReasonRate:
		return "it registers more often than unknown.rate allows"
	}
	return strings.ReplaceAll(reason, "_", " ")
}

// neverAllowed is said of a source of which there is nothing else to say.
const neverAllowed = "never allowed"

// unknownText says of a source that nothing allows whether something did, or nearly does.
func unknownText(in Judged, d Stranger) string {
	if d.Allowed != nil {
		text := "was allowed until " + d.Allowed.Until.Local().Format("2 Jan 15:04")
		if d.Allowed.As != "" {
			text += " as " + d.Allowed.As
		}
		return text
	}
	if why := in.LeftOut[d.Address]; why != "" {
		return "unknown: " + why
	}
	return "unknown: " + neverAllowed
}
