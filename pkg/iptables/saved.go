package iptables

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// savedSet is a set of ringfence's in a line that iptables-save wrote: what is done with
// it, its name, and what of a packet it is asked for.
var savedSet = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`--(match|add|del|map)-set (` + setPrefix + `[a-z_]+[46])\b(?: (src,src|dst,dst))?(?:[a-z, ]*?( ` + countAbove + `))?`)
})

// filledSize is how many entries a set takes that saved rules name and that packets fill.
// The next change gives it the size of the policy.
const filledSize = 65535

// MakeSaved makes the sets that saved rules name and that are not there: iptables-restore
// refuses all rules of a file, also those of others, if one of its sets is missing.
func MakeSaved(ctx context.Context, texts []string) error {
	missing := map[string]ruleset.Set{}
	for _, text := range texts {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for _, match := range savedSet().FindAllStringSubmatch(line, -1) {
				missing[match[2]] = named4or6(match[2], missing[match[2]], match[1] != "match", match[3] != "", match[4] != "")
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	conn, err := openSets()
	if err != nil {
		return err
	}
	defer conn.close()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		header, err := savedHeader(name, missing[name])
		if err == nil {
			err = conn.create(ctx, header)
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// named4or6 is what is known of a set from its name and from one more line about it:
// whether packets fill it, have ports there, and are counted.
func named4or6(name string, s ruleset.Set, filled, ports, counts bool) ruleset.Set {
	v6 := strings.HasSuffix(name, "6")
	kind := strings.TrimRight(strings.TrimPrefix(name, setPrefix), "46")
	ports = ports || isPeer(s.Key)
	if s.Key = keyFor(v6, ports); filled || ports || s.Dynamic || kind == bannedSet || kind == allowedSet {
		s.Dynamic, s.Timeout, s.Size = true, true, filledSize
	}
	s.Limited = s.Limited || counts
	return s
}

func keyFor(v6, ports bool) ruleset.Key {
	switch {
	case v6 && ports:
		return ruleset.IPv6Peer
	case v6:
		return ruleset.IPv6
	case ports:
		return ruleset.IPv4Peer
	}
	return ruleset.IPv4
}

// savedHeader is what a set is made like of which only that is known.
func savedHeader(name string, s ruleset.Set) (setHeader, error) {
	if isArmedSet(name) {
		return armedHeader(name == armedName(true)), nil
	}
	return headerOf(strings.TrimPrefix(name, setPrefix), s)
}
