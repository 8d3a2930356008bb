package catalog

import (
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/rules"
)

// Signature is a signature with what is known about it.
type Signature struct {
	signature.Signature
	List   string // the list that it is from; "" for the policy's own
	Source string
	Note   string
}

// SignaturesOf returns the signatures that a policy looks for: those of its lists,
// without those that are switched off or excepted, and its own, which are of class ban.
func SignaturesOf(p *policy.Policy) ([]Signature, error) {
	known, err := lists()
	if err != nil {
		return nil, err
	}
	var wanted []Signature
	for _, name := range p.Signatures.Presets {
		for _, s := range known[name].Signatures {
			if !s.Off && !slices.Contains(p.Signatures.Except, s.Name) {
				wanted = append(wanted, shipped(name, s))
			}
		}
	}
	for _, s := range p.Signatures.Deny {
		wanted = append(wanted, Signature{
			Signature: own(s),
			Source:    "the policy",
		})
	}
	return wanted, nil
}

// own is a signature that a policy has of its own.
func own(s policy.Signature) signature.Signature {
	var all []signature.Condition
	for _, c := range s.Conditions {
		all = append(all, signature.Condition{Header: c.Header, Match: signature.Match(c.Match), Value: c.Value})
	}
	return signature.New(s.Name, signature.Ban, all...)
}

// Signatures returns all signatures of all lists, sorted by name.
func Signatures() ([]Signature, error) {
	known, err := lists()
	if err != nil {
		return nil, err
	}
	var all []Signature
	for _, list := range known {
		for _, s := range list.Signatures {
			all = append(all, shipped(list.Name, s))
		}
	}
	slices.SortFunc(all, func(a, b Signature) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func shipped(list string, s rules.Signature) Signature {
	return Signature{
		Signature: compiled(s),
		List:      list, Source: s.Source, Note: s.Note,
	}
}

func compiled(s rules.Signature) signature.Signature {
	var all []signature.Condition
	for _, c := range s.Conditions() {
		all = append(all, signature.Condition{Header: c.Header, Match: signature.Match(c.Match()), Value: c.Value()})
	}
	return signature.New(s.Name, signature.Class(s.Class), all...)
}

// AutomatonOf returns the automaton for the signatures and the required User-Agents of
// a policy. Its error wraps signature.ErrTooMany if there are too many.
func AutomatonOf(p *policy.Policy) (*signature.Automaton, error) {
	list, err := SignaturesOf(p)
	if err != nil {
		return nil, err
	}
	var wanted []signature.Signature
	for _, s := range list {
		wanted = append(wanted, s.Signature)
	}
	return automatonOf(wanted, p.Unknown.RequireUserAgent)
}

// Texts are what can be looked for without reading headers.
type Texts struct {
	// Texts are sorted, and none contains another one.
	Texts []string
	// Signatures is how many signatures of class ban they stand for, Of how many there are.
	Signatures, Of int
}

// The limits of a text that is looked for anywhere in a packet. Shorter ones are there by
// chance, and xt_string takes no longer ones.
const (
	shortestText = 8
	longestText  = 128
)

// TextsOf returns the texts of a policy's signatures that can be looked for anywhere in
// a packet: those of class ban that are contained in a header. What a header begins with
// or is equal to is often short, and a part of what real phones send.
func TextsOf(p *policy.Policy) (Texts, error) {
	list, err := SignaturesOf(p)
	if err != nil {
		return Texts{}, err
	}
	var t Texts
	var all []string
	for _, s := range list {
		if s.Class != signature.Ban {
			continue
		}
		t.Of++
		if text := strings.ToLower(s.Value); s.Match == signature.Contains && isText(text) {
			t.Signatures++
			all = append(all, text)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, text := range all {
		covered := slices.ContainsFunc(all, func(other string) bool { return other != text && strings.Contains(text, other) })
		if !covered {
			t.Texts = append(t.Texts, text)
		}
	}
	return t, nil
}

// isText reports whether a text can be looked for: it is of printable ASCII, and reads
// the same between the words of a rule.
func isText(text string) bool {
	if len(text) < shortestText || len(text) > longestText {
		return false
	}
	for word := range strings.SplitSeq(text, " ") {
		if word == "" || word[0] == '-' {
			return false
		}
	}
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}
