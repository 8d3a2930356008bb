package report

import (
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/verify"
)

// Verified is the object that verify prints.
type Verified struct {
	OK      bool     `json:"ok"` // all is as the policy says
	Backend string   `json:"backend"`
	Mode    string   `json:"mode"`
	Packets []Probed `json:"packets"`
	// Tried is of how many addresses packets were sent, Addresses how many there are.
	Tried     int `json:"tried"`
	Addresses int `json:"addresses"`
	// Signatures says that scanners' packets were among them, and Without why not, "" if
	// they were.
	Signatures bool   `json:"signatures"`
	Without    string `json:"without"`
	// NotCopied is what another program has put into the table.
	NotCopied []string `json:"not_copied"`
}

// Probed is one packet that was sent through the copy.
type Probed struct {
	Who       string `json:"who"`
	Source    string `json:"source"`
	Interface string `json:"interface"`
	Protocol  string `json:"protocol"`
	Port      uint16 `json:"port"`
	Kind      string `json:"kind"`
	Result    string `json:"result"` // pass or drop
	Policy    string `json:"policy"` // what it should be
	Reason    string `json:"reason"` // of the policy
}

// VerifiedOf makes the object.
func VerifiedOf(v fence.Verified) Verified {
	r := Verified{
		OK: v.Good(), Backend: v.Backend.Name, Mode: "enforce", Packets: []Probed{}, Tried: v.Tried, Addresses: v.All,
		Signatures: v.Without == nil, NotCopied: append([]string{}, v.NotCopied...),
	}
	if v.Monitor {
		r.Mode = "monitor"
	}
	if v.Without != nil {
		r.Without = v.Without.Error()
	}
	for _, p := range v.Probes {
		r.Packets = append(r.Packets, ProbedOf(p))
	}
	return r
}

// ProbedOf makes the object of one packet.
func ProbedOf(p verify.Probe) Probed {
	result := map[bool]string{true: "pass", false: "drop"}
	return Probed{
		p.Who, p.Source.String(), p.Interface, string(p.Protocol), p.Port, string(p.Kind),
		result[p.Passes], result[p.Should], p.Reason,
	}
}
