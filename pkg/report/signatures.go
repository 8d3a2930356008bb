package report

import (
	"slices"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/signature"
)

// Signature is the object that signatures prints for one signature.
type Signature struct {
	Name string `json:"name"`
	// Header, Match and Value are there for a signature with one condition, All for one
	// with several.
	Header string          `json:"header,omitempty"`
	Match  signature.Match `json:"match,omitempty"`
	Value  string          `json:"value,omitempty"`
	All    []Condition     `json:"all,omitempty"`
	Class  signature.Class `json:"class"`
	On     bool            `json:"on"`
	List   string          `json:"list,omitempty"`
	Source string          `json:"source"`
	Note   string          `json:"note,omitempty"`
	// Packets is how many packets matched, null if that is not known.
	Packets *uint64 `json:"packets"`
}

// Condition is one of several that a signature wants.
type Condition struct {
	Header string          `json:"header"`
	Match  signature.Match `json:"match"`
	Value  string          `json:"value"`
}

// SignaturesOf makes the objects of signatures that are on, and then of those of others
// that are not. hits are the packets that each has matched, nil if that is not known.
func SignaturesOf(wanted, others []catalog.Signature, hits map[string]uint64) []Signature {
	list := []Signature{}
	add := func(k catalog.Signature, on bool) {
		s := Signature{
			Name: k.Name, Header: k.Header, Match: k.Match, Value: k.Value,
			Class: k.Class, On: on, List: k.List, Source: k.Source, Note: k.Note,
		}
		for _, c := range k.All {
			s.All = append(s.All, Condition(c))
		}
		if n, ok := hits[k.Name]; ok && on {
			s.Packets = &n
		}
		list = append(list, s)
	}
	for _, k := range wanted {
		add(k, true)
	}
	for _, k := range others {
		if !slices.ContainsFunc(wanted, func(w catalog.Signature) bool { return w.Name == k.Name }) {
			add(k, false)
		}
	}
	return list
}
