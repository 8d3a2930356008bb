package report

import (
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
)

// Registered is the object that phones prints for a phone that is let in because the PBX
// has accepted its registration.
type Registered struct {
	Address string `json:"address"`
	// Port is null if every port of the address is let in.
	Port      *uint16   `json:"port"`
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	UserAgent string    `json:"user_agent"`
}

// RegisteredOf makes the objects of phones.
func RegisteredOf(phones []fence.Registered) []Registered {
	list := []Registered{}
	for _, p := range phones {
		r := Registered{Address: p.Address.String(), Since: p.Since, Until: p.Until, UserAgent: p.UserAgent}
		if p.Port != 0 {
			r.Port = new(p.Port)
		}
		list = append(list, r)
	}
	return list
}
