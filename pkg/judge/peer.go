package judge

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The lengths of transport headers without options.
const (
	udpHeader = 8
	tcpWords  = 5
	wordBytes = 4
)

// header is the length of the packet's transport header.
func (w *walk) header() int {
	if w.packet.Protocol == ruleset.TCP {
		return wordBytes * tcpWords
	}
	return udpHeader
}

// whole reports whether the packet has a transport header.
func (w *walk) whole() bool { return w.packet.Shape != Later && w.packet.Shape != Headless }

// inside compares what is in the transport header and behind it.
func (w *walk) inside(statement ruleset.Statement) (bool, error) {
	p := &w.packet
	isTCP := p.Protocol == ruleset.TCP && w.whole()
	switch s := statement.(type) {
	case ruleset.Transport:
		return p.Protocol == s.Protocol && p.Shape != Headless, nil
	case ruleset.TCPHeader:
		return isTCP && s.Words == tcpWords, nil
	case ruleset.Opening:
		return isTCP && len(p.Message) == 0, nil
	case ruleset.Fragment:
		return p.Source.Is4() && (p.Shape == First || p.Shape == Later), nil
	case ruleset.Text:
		at := s.Offset - w.header()
		return w.whole() && at >= 0 && at <= len(p.Message) && bytes.HasPrefix(p.Message[at:], []byte(s.Text)), nil
	case ruleset.Reaches:
		return w.whole() && s.Offset < w.header()+len(p.Message), nil
	}
	return false, fmt.Errorf("statement %q is not known", statement)
}

// peer looks up who has sent the packet. The element is the one that has it.
func (w *walk) peer(s ruleset.PeerIn) (ruleset.Element, bool) {
	a := w.packet.Source
	if a.Is6() != s.V6 || s.Answer || s.Port && !w.whole() {
		return ruleset.Element{}, false
	}
	elements := w.state.Sets[s.Set].Elements
	i := slices.IndexFunc(elements, func(e ruleset.Element) bool {
		return e.From.IsValid() && e.From.Compare(a) <= 0 && a.Compare(e.To) <= 0 && (!s.Port || e.Port == w.packet.SourcePort)
	})
	if i < 0 {
		return ruleset.Element{}, s.Not
	}
	return elements[i], !s.Not
}

// learns adds the packet's source to a set. It reports whether the rule goes on.
func (w *walk) learns(s ruleset.Learn) bool {
	switch {
	case w.packet.Source.Is6() != s.V6 || s.Port && !w.whole():
		return false
	case s.Over != (ruleset.Limit{}):
		return w.packet.Often
	}
	if strings.HasPrefix(s.Set, "banned") {
		w.verdict.Bans = append(w.verdict.Bans, s.Set)
	}
	return true
}
