// Package feed reads the lists of addresses that some providers publish for programs.
//
// It is pure: pkg/feed/https fetches a list, pkg/resolve decides what becomes of it.
package feed

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/theory/jsonpath"
)

// Lines is the format of a list with one address or prefix a line. Empty lines, and what
// follows # or ;, do not count. Any other format is a JSONPath query (RFC 9535), which
// selects the addresses and prefixes of a JSON document, or arrays of them.
const Lines = "lines"

// CheckFormat says what is wrong with a format.
func CheckFormat(format string) error {
	if format == Lines {
		return nil
	}
	_, err := query(format)
	return err
}

func query(format string) (*jsonpath.Path, error) {
	if !strings.HasPrefix(format, "$") {
		return nil, fmt.Errorf("%q is neither %s nor a JSONPath query such as $.prefixes[*].cidr", format, Lines)
	}
	path, err := jsonpath.Parse(format)
	if err != nil {
		return nil, fmt.Errorf("read JSONPath query: %w", err)
	}
	return path, nil
}

// Parse reads a list. The result is sorted, without duplicates, and never empty: one
// entry that cannot be right refuses the whole list.
func Parse(format string, text []byte) ([]netip.Prefix, error) {
	entries, err := entriesOf(format, text)
	if err != nil {
		return nil, err
	}
	var list []netip.Prefix
	for _, entry := range entries {
		prefix, err := parsePrefix(entry)
		if err != nil {
			return nil, err
		}
		list = append(list, prefix)
	}
	if len(list) == 0 {
		return nil, errors.New("there is no address in it")
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list), nil
}

func entriesOf(format string, text []byte) ([]string, error) {
	if format == Lines {
		return lines(text)
	}
	path, err := query(format)
	if err != nil {
		return nil, err
	}
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, errors.New("it is not JSON")
	}
	var entries []string
	for _, node := range path.Select(document) {
		several, ok := node.([]any)
		if !ok {
			several = []any{node}
		}
		for _, one := range several {
			entry, ok := one.(string)
			if !ok {
				return nil, fmt.Errorf("%s selects something that is no text", format)
			}
			entries = append(entries, entry)
		}
	}
	return entries, nil
}

func lines(text []byte) ([]string, error) {
	var entries []string
	scanner := bufio.NewScanner(bytes.NewReader(text))
	for scanner.Scan() {
		entry, _, _ := strings.Cut(scanner.Text(), "#")
		entry, _, _ = strings.Cut(entry, ";")
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	if scanner.Err() != nil {
		return nil, errors.New("it has a line that is no address")
	}
	return entries, nil
}

func parsePrefix(entry string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(entry)
	if a, notPrefix := netip.ParseAddr(entry); notPrefix == nil && a.Zone() == "" {
		prefix, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil || prefix.Addr().Is4In6() {
		return prefix, fmt.Errorf("it has %s, which is no address", shown(entry))
	}
	prefix = prefix.Masked()
	if why := Unfit(prefix); why != "" {
		return prefix, fmt.Errorf("it has %s, which %s", prefix, why)
	}
	return prefix, nil
}

// shown quotes an entry, or the beginning of a long one.
func shown(entry string) string {
	const most = 40
	if len(entry) > most {
		return fmt.Sprintf("%q …", entry[:most])
	}
	return fmt.Sprintf("%q", entry)
}

// private are networks that no provider's call can come from over the internet.
var private = func() []netip.Prefix {
	var list []netip.Prefix
	for _, text := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3",
		"::/8", "fc00::/7", "fe80::/10", "ff00::/8",
	} {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}()

// The shortest prefixes that a provider may have, as in a policy.
const (
	shortest4 = 8
	shortest6 = 24
)

// Unfit says why a prefix is not one of a provider, "" if it may be.
func Unfit(p netip.Prefix) string {
	shortest := shortest4
	if p.Addr().Is6() {
		shortest = shortest6
	}
	switch {
	case p.Bits() < shortest:
		return fmt.Sprintf("is shorter than /%d and allows too much", shortest)
	case slices.ContainsFunc(private, p.Overlaps):
		return "is no public address"
	}
	return ""
}
