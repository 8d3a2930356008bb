package report

import (
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Draft is the object that init prints: where it has written a policy, and what that was
// made from.
type Draft struct {
	Path       string             `json:"path"`
	Monitor    bool               `json:"monitor"`
	Exposed    []ruleset.Listener `json:"exposed"`
	Forwards   bool               `json:"forwards"`
	Outside    []string           `json:"outside"`
	Interfaces []string           `json:"interfaces"`
	Trusted    []string           `json:"trusted"`
	Inside     []string           `json:"inside"`
	Servers    []ruleset.Listener `json:"servers"`
}

// DraftOf makes the object of a draft that was written to a path.
func DraftOf(path string, d policy.Draft) Draft {
	return Draft{
		path, d.Monitor, append([]ruleset.Listener{}, d.Exposed...), d.Host.Forwards, append([]string{}, d.Host.Outside...), append([]string{}, d.Interfaces...),
		networks(d.Trusted), networks(d.Inside), append([]ruleset.Listener{}, d.Servers...),
	}
}

func networks(list []ruleset.Network) []string {
	texts := []string{}
	for _, n := range list {
		texts = append(texts, n.Prefix.String())
	}
	return texts
}
