package signature

// Shortcut is a text that leads from one state to another over states without an event.
// Where almost no other text leads further, comparing the whole text at once is faster
// than walking through these states, each of which is somewhere else in memory.
type Shortcut struct {
	// Text is in lower case and has no white space. It is at most MaxShortcut bytes
	// long.
	Text string
	// To is the state after the text. It may have an event.
	To uint16
}

const (
	// MaxShortcut is the largest length of a shortcut's text.
	MaxShortcut = 16
	// MaxShortcuts is the largest number of shortcuts.
	MaxShortcuts = 4096
	// leastShortcut is the length from which a shortcut saves time.
	leastShortcut = 4
)

// shortcut is a Shortcut before the states are sorted.
type shortcut struct {
	text string
	to   int32
}

// shortcuts returns the shortcuts on the paths to all values, by the state where each
// begins. One begins where paths divide, and after another shortcut.
func (d *dfa) shortcuts(required []string, begins func(state int32) bool) map[int]shortcut {
	var ways []string
	for _, s := range d.parts {
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

// shortcut returns the longest piece of a path from which no other path branches off.
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
