package iptables

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// savedSet is a set of ringfence's in a line that iptables-save wrote.
var savedSet = regexp.MustCompile(`--(?:match|add|del|map)-set (` + setPrefix + `[a-z_]+[46])\b`)

// banSize is how many addresses a set of bans takes that saved rules name. The next
// change gives it the size of the policy.
const banSize = 65535

// MakeSaved makes the sets that saved rules name and that are not there: iptables-restore
// refuses all rules of a file, also those of others, if one of its sets is missing.
func MakeSaved(ctx context.Context, texts []string) error {
	missing := map[string]bool{}
	for _, text := range texts {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for _, match := range savedSet.FindAllStringSubmatch(line, -1) {
				missing[match[1]] = true
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
		header, err := savedHeader(name)
		if err == nil {
			err = conn.create(ctx, header)
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// savedHeader is what a set is made like of which nothing but the name is known.
func savedHeader(name string) (setHeader, error) {
	if isArmedSet(name) {
		return armedHeader(name == armedName(true)), nil
	}
	name = strings.TrimPrefix(name, setPrefix)
	s := ruleset.Set{Key: ruleset.IPv4}
	if strings.HasSuffix(name, "6") {
		s.Key = ruleset.IPv6
	}
	if strings.HasPrefix(name, "banned") || strings.HasPrefix(name, "allowed") {
		s.Dynamic, s.Timeout, s.Size = true, true, banSize
	}
	return headerOf(name, s)
}
