package cli

import (
	"fmt"
	"strings"
)

// What the service says of itself: to its log what has changed, to whoever wants
// to know how it goes, each of it once.

// rest says, once, why there is nothing to do.
func (k *keeper) rest(why string) {
	k.site, k.newest = nil, nil
	if k.told != why {
		k.log.Warn(why)
		k.announce(why)
	}
}

// announce tells how it goes, if that is not as before.
func (k *keeper) announce(text string) {
	if k.told != text {
		k.told = text
		k.tell(text)
	}
}

// complain says what has become wrong, and what is right again.
func (k *keeper) complain(s *site) {
	wrong := map[string]bool{}
	for _, p := range s.memory.Refresh.Failures {
		text := problemText(p)
		wrong[text] = true
		if !k.wrong[text] {
			k.log.Warn("a name has failed; what is known of it stays", "failure", text)
		}
	}
	for _, alarm := range s.memory.Alarms(s.terms(), k.clock()) {
		about := fmt.Sprintf("alarm %s: %s", alarm.Kind, strings.TrimSpace(alarm.Name+" "+string(alarm.Type)))
		wrong[about] = true
		if !k.wrong[about] {
			k.log.Warn("alarm", "kind", alarm.Kind, "text", alarmText(alarm), "way_out", alarm.WayOut)
		}
	}
	for text := range k.wrong {
		if !wrong[text] {
			k.log.Info("over", "what", text)
		}
	}
	k.wrong = wrong
}

// report says how it goes in one line.
func (k *keeper) report(s *site) {
	text := fmt.Sprintf("generation %d, %s", k.newest.Number, s.size())
	if n := len(s.memory.Refresh.Failures); n > 0 {
		text += ", " + count(n, "failure")
	}
	if n := len(s.memory.Alarms(s.terms(), k.clock())); n > 0 {
		text += ", " + count(n, "alarm")
	}
	k.announce(text)
}

// reportEngine says where scanners are not recognised, and when they are again.
func (k *keeper) reportEngine(s *site) {
	text := strings.Join(k.engineWarnings(s), "; ")
	if text == k.unwatched {
		return
	}
	if text != "" {
		k.log.Warn(text)
	} else {
		k.log.Info("over", "what", k.unwatched)
	}
	k.unwatched = text
}
