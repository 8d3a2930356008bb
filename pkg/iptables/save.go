package iptables

import (
	"strconv"
	"strings"
)

// savedChain is a chain as iptables-save writes it.
type savedChain struct {
	lines   []string // without -A and the chain's name
	packets []uint64 // that each line has counted
	bytes   []uint64
}

// savedTable is a table, by the names of its chains.
type savedTable map[string]*savedChain

// parseSave reads what iptables-save -c writes about one table.
func parseSave(text string) savedTable {
	t := savedTable{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, ":"):
			name, _, _ := strings.Cut(line[1:], " ")
			t[name] = &savedChain{}
		case strings.HasPrefix(line, "["):
			count, rest, _ := strings.Cut(line, " ")
			rest, ok := strings.CutPrefix(rest, "-A ")
			if !ok {
				continue
			}
			name, rule, _ := strings.Cut(rest, " ")
			c := t[name]
			if c == nil {
				continue
			}
			packets, bytes, _ := strings.Cut(strings.Trim(count, "[]"), ":")
			c.lines = append(c.lines, named(rule))
			c.packets = append(c.packets, number(packets))
			c.bytes = append(c.bytes, number(bytes))
		}
	}
	return t
}

func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// named writes protocols by their names, which a host without /etc/protocols lacks.
func named(rule string) string {
	list := strings.Fields(rule)
	for i, word := range list {
		if i == 0 || list[i-1] != "-p" {
			continue
		}
		for _, p := range protocols {
			if word == p.number {
				list[i] = string(p.protocol)
				return strings.Join(list, " ")
			}
		}
	}
	return rule
}

// numbered writes protocols by their numbers.
func numbered(rule string) string {
	for _, p := range protocols {
		rule = strings.Replace(rule, "-p "+string(p.protocol)+" ", "-p "+p.number+" ", 1)
	}
	return rule
}

// The letters of a fence's chains.
const letters = "AB"

// lettered writes a line for the chains of a letter.
func lettered(line string, letter byte) string {
	return strings.ReplaceAll(line, letterMark, chainPrefix+string(letter)+"-")
}

// unlettered takes the letter out of a line of that letter's chains.
func unlettered(line string, letter byte) string {
	return strings.ReplaceAll(line, chainPrefix+string(letter)+"-", letterMark)
}

// letterOf returns the letter of a chain and its name in ruleset.
func letterOf(chain string) (letter byte, name string, ok bool) {
	rest, ok := strings.CutPrefix(chain, chainPrefix)
	if !ok || len(rest) < 3 || rest[1] != '-' || !strings.Contains(letters, rest[:1]) {
		return 0, "", false
	}
	return rest[0], rest[2:], true
}

// jumpTarget returns the chain of ringfence's that a line leads to.
func jumpTarget(line string) (chain string, ok bool) {
	list := strings.Fields(line)
	for i, word := range list {
		if i > 0 && (list[i-1] == "-j" || list[i-1] == "-g") && strings.HasPrefix(word, chainPrefix) {
			return word, true
		}
	}
	return "", false
}
