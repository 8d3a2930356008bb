package report

import (
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Banned is the object that bans, ban, unban, allow and disallow print for one address.
type Banned struct {
	Address string `json:"address"`
	// Left is the number of seconds until the ban ends, null if it is permanent.
	Left *int64 `json:"left"`
	Why  string `json:"why"`
}

// BannedOf makes the object of a ban.
func BannedOf(b fence.Banned) Banned {
	return Banned{Address: ruleset.PrefixText(b.Prefix), Left: seconds(b.Left), Why: b.Why}
}

// seconds are those of a time that is left, nil for good.
func seconds(left time.Duration) *int64 {
	if left <= 0 {
		return nil
	}
	return new(int64((left + time.Second - 1) / time.Second))
}

// ByHand makes the objects of addresses that are allowed by hand.
func ByHand(list []fence.ByHand) []Banned {
	reports := []Banned{}
	for _, b := range list {
		reports = append(reports, Banned{Address: b.Address.String(), Left: seconds(b.Left), Why: b.Why})
	}
	return reports
}
