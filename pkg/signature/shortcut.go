package signature

// Shortcut is a text that leads from one state to another past states that say
// nothing. Where little else than this text leads on, comparing it at once is
// faster than walking through its states: each of them is somewhere else in
// memory.
type Shortcut struct {
	// Text is in lower case and without white space, up to MaxShortcut bytes.
	Text string
	// To is the state behind it. It may be one that says something.
	To uint16
}

const (
	// MaxShortcut is the length of a shortcut's text.
	MaxShortcut = 16
	// MaxShortcuts is how many states may have one.
	MaxShortcuts = 4096
	// leastShortcut is the length from which on it is worth while.
	leastShortcut = 4
)

// shortcut is one while states have no order yet.
type shortcut struct {
	text string
	to   int32
}

// shortcuts are those on the ways to all values, by the state that they begin at.
// They begin where ways part, and behind a shortcut.
func (d *dfa) shortcuts(required []string, begins func(state int32) bool) map[int]shortcut {
	var ways []string
	for _, s := range d.list {
		if !s.isRequestLine() {
			ways = append(ways, header(s.Header)+": "+normal(s.Value))
		}
	}
	for _, r := range required {
		ways = append(ways, userAgent+": "+normal(r))
	}
	follows := map[int32]map[byte]bool{}
	for _, way := range ways {
		state := int32(newLineState)
		for i := 0; i < len(way) && state >= 0; i++ {
			if follows[state] == nil {
				follows[state] = map[byte]bool{}
			}
			follows[state][way[i]] = true
			state = d.follow(state, way[i])
		}
	}
	found := map[int]shortcut{}
	for _, way := range ways {
		state := int32(newLineState)
		for i := 0; i < len(way) && state >= 0; {
			s, known := found[int(state)]
			if !known && begins(state) && len(found) < MaxShortcuts {
				s = d.shortcut(state, way[i:], follows)
				if known = len(s.text) >= leastShortcut; known {
					found[int(state)] = s
				}
			}
			if known {
				state = s.to
				i += len(s.text)
			} else {
				state = d.follow(state, way[i])
				i++
			}
		}
	}
	return found
}

// shortcut is as much of a way as has no other beside it.
func (d *dfa) shortcut(state int32, way string, follows map[int32]map[byte]bool) shortcut {
	end := 0
	for end < min(len(way), MaxShortcut) && way[end] != blankByte && len(follows[state]) == 1 {
		state = d.follow(state, way[end])
		end++
		if state < 0 || d.event(int(state)) != (Event{}) {
			break
		}
	}
	return shortcut{way[:end], state}
}

// follow returns the state that a byte leads to.
func (d *dfa) follow(state int32, b byte) int32 {
	return d.next[int(state)*MaxClasses+int(d.classes[b])]
}
