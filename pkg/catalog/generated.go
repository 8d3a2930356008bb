package catalog

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/rules"
)

// The shipped lists of signatures, read and checked, and the automaton of those that a
// policy has that says nothing of signatures. scripts/generate makes both: to read and
// to compile them takes longer than all else that many commands do.
var (
	//go:embed generated/lists.json
	generatedLists []byte
	//go:embed generated/automaton.bin
	generatedAutomaton []byte
)

func readLists() (map[string]rules.SignatureList, error) {
	var all []rules.SignatureList
	if err := json.Unmarshal(generatedLists, &all); err != nil {
		return nil, fmt.Errorf("read lists of signatures: %w", err)
	}
	lists := map[string]rules.SignatureList{}
	for _, list := range all {
		lists[list.Name] = list
	}
	return lists, nil
}

// shippedAutomaton is the automaton that was made beforehand.
var shippedAutomaton = sync.OnceValues(func() (*signature.Automaton, error) {
	var a signature.Automaton
	return &a, a.UnmarshalBinary(generatedAutomaton)
})

// automatonOf returns the automaton of some signatures, the one that was made beforehand
// if it is theirs.
func automatonOf(list []signature.Signature, required []string) (*signature.Automaton, error) {
	if len(required) == 0 {
		if a, err := shippedAutomaton(); err != nil || a.IsOf(list, nil) {
			return a, err
		}
	}
	return signature.Compile(list, required)
}

// Generate makes the content of the files that are embedded, by their names.
func Generate() (map[string][]byte, error) {
	lists, err := rules.SignatureLists()
	if err != nil {
		return nil, err
	}
	var all []rules.SignatureList
	for _, list := range lists {
		all = append(all, list)
	}
	slices.SortFunc(all, func(a, b rules.SignatureList) int { return strings.Compare(a.Name, b.Name) })
	text, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("write lists of signatures: %w", err)
	}
	var usual []signature.Signature
	for _, s := range lists[usualList].Signatures {
		if !s.Off {
			usual = append(usual, compiled(s))
		}
	}
	a, err := signature.Compile(usual, nil)
	if err != nil {
		return nil, err
	}
	automaton, err := a.MarshalBinary()
	return map[string][]byte{"lists.json": append(text, '\n'), "automaton.bin": automaton}, err
}

// usualList is the list that a policy has that names none.
const usualList = "scanners"
