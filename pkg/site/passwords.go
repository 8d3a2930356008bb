package site

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ringfence/ringfence/pkg/notice"
)

// passwordAlarms are about phones whose password is most likely wrong: somebody at their
// address has logged in lately. There is one for each address.
func passwordAlarms(_ *Site, l Look) []Alarm {
	var alarms []Alarm
	failing := map[netip.Addr]int{}
	for _, s := range l.Stale {
		failing[s.Addr()]++
	}
	addresses := make([]netip.Addr, 0, len(failing))
	for a := range failing {
		addresses = append(addresses, a)
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	for _, a := range addresses {
		alarms = append(alarms, Alarm{
			Kind: AlarmWrongPassword, Name: a.String(),
			Text: fmt.Sprintf("%s there fails to log in, where a phone has registered in the last day: it is slowed down, and not banned", notice.Count(failing[a], "phone")),
			WayOut: "correct the password in the phone, or in the PBX; if somebody is guessing from there, ringfence ban shuts the address out, " +
				"and its phones with it when they have to register again",
		})
	}
	return alarms
}
