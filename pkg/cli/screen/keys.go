package screen

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// keys makes keys of what a terminal sends.
type keys struct {
	pending []byte // the beginning of a key
	pasting bool   // a paste is no key: nobody has pressed y
}

// longestKey is more than any key has.
const longestKey = 32

// Keys that have a name: what follows escape and [ or O.
var named = map[string]key{
	"A": "up", "B": "down", "H": "home", "F": "end",
	"1~": "home", "7~": "home", "4~": "end", "8~": "end", "5~": "pgup", "6~": "pgdown",
}

// other is a key without a meaning.
const other key = "other"

// of returns the keys that more bytes complete.
func (k *keys) of(typed []byte) []key {
	in := append(k.pending, typed...)
	k.pending = nil
	var all []key
	for len(in) > 0 {
		name, n := k.first(in)
		if n == 0 {
			if len(in) <= longestKey {
				k.pending = bytes.Clone(in)
			}
			break
		}
		in = in[n:]
		if name != "" && (!k.pasting || name == "ctrl+c") {
			all = append(all, name)
		}
	}
	return all
}

// waits reports whether there is the beginning of a key.
func (k *keys) waits() bool { return len(k.pending) > 0 }

// rest returns what the beginning of a key is when nothing follows.
func (k *keys) rest() []key {
	in := k.pending
	k.pending = nil
	switch {
	case len(in) == 0 || k.pasting:
		return nil
	case string(in) == "\x1b":
		return []key{"esc"}
	}
	return []key{other}
}

// first returns the first key, and how many bytes it has: none if it is not complete.
func (k *keys) first(in []byte) (key, int) {
	switch {
	case in[0] == 0x1b:
		return k.escaped(in)
	case in[0] == 3:
		return "ctrl+c", 1
	case in[0] == ' ':
		return "space", 1
	case !utf8.FullRune(in):
		return "", 0
	}
	r, n := utf8.DecodeRune(in)
	if r == utf8.RuneError || !unicode.IsPrint(r) {
		return other, n
	}
	return key(r), n
}

// escaped is first for what begins with escape.
func (k *keys) escaped(in []byte) (key, int) {
	switch {
	case len(in) == 1:
		return "", 0
	case in[1] == 0x1b:
		return "esc", 1
	case in[1] != '[' && in[1] != 'O':
		return other, 2 // with alt
	}
	end := 2
	for end < len(in) && in[end] >= 0x20 && in[end] < 0x40 { // parameters
		end++
	}
	if end == len(in) {
		return "", 0
	}
	end++
	name, is := named[string(in[2:end])]
	switch sequence := string(in[1:end]); {
	case is:
		return name, end
	case sequence == "[200~" || sequence == "[201~":
		k.pasting = sequence == "[200~"
		return "", end
	}
	return other, end
}
