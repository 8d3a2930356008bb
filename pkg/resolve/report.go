package resolve

import (
	"net/netip"
	"slices"
	"time"
)

// Report is what was found behind one name, with the whole tree of answers. Times to
// live are in seconds.
type Report struct {
	Name      string            `json:"name"`
	Addresses []ReportedAddress `json:"addresses"`
	Rejected  []Rejected        `json:"rejected"`
	Failures  []Problem         `json:"failures"`
	Tree      []TreeNode        `json:"tree"`
	// Cut are the limits beyond which there is more.
	Cut []CutBy `json:"cut,omitempty"`
}

// ReportedAddress is an address that is allowed.
type ReportedAddress struct {
	Address netip.Addr `json:"address"`
	Via     string     `json:"via"`
	TTL     int64      `json:"ttl"`
}

// TreeNode is one question with its records, and the questions that these lead to.
type TreeNode struct {
	Question string   `json:"question"`
	Type     Type     `json:"type"`
	Aliases  []string `json:"aliases,omitempty"`
	NoName   bool     `json:"no_such_name,omitempty"`
	// Server is the name server that says so, "" for the host's own file.
	Server  string       `json:"server,omitempty"`
	Records []TreeRecord `json:"records"`
	Error   string       `json:"error,omitempty"`
	// Again says that the children are where the question stands before.
	Again    bool       `json:"again,omitempty"`
	Children []TreeNode `json:"children,omitempty"`
}

// TreeRecord is one record of an answer.
type TreeRecord struct {
	Text    string     `json:"text"`
	TTL     int64      `json:"ttl"`
	Address netip.Addr `json:"address,omitzero"`
	Target  string     `json:"target,omitempty"`
	// Priority and Weight are the order and preference of a NAPTR record.
	Priority uint16 `json:"priority,omitempty"`
	Weight   uint16 `json:"weight,omitempty"`
	Port     uint16 `json:"port,omitempty"`
	Service  string `json:"service,omitempty"`
	// Rejected is why the record leads to no allowed address.
	Rejected string `json:"rejected,omitempty"`
}

// ReportOf describes what was found behind one name. problems are those of all names.
func ReportOf(r Result, known Known, problems []Problem, filter AddressFilter) Report {
	n := Report{
		Name: r.Target.Name, Addresses: []ReportedAddress{}, Rejected: []Rejected{}, Failures: []Problem{},
		Tree: treeOf(r.Roots, filter, map[Question]bool{}), Cut: r.Cut,
	}
	n.Rejected = append(n.Rejected, known.Rejected...)
	for _, k := range known.Addresses {
		n.Addresses = append(n.Addresses, ReportedAddress{k.Address, k.Via, k.TTL})
	}
	for _, p := range problems {
		if p.Target == r.Target {
			n.Failures = append(n.Failures, p)
		}
	}
	return n
}

// treeOf describes nodes. What several records lead to is described once.
func treeOf(nodes []*Node, filter AddressFilter, seen map[Question]bool) []TreeNode {
	var tree []TreeNode
	for _, n := range nodes {
		t := TreeNode{
			Question: n.Question.Name, Type: n.Question.Type, Aliases: n.Aliases, NoName: n.NoName,
			Server: n.Server, Records: []TreeRecord{}, Again: seen[n.Question],
		}
		if seen[n.Question] = true; !t.Again {
			t.Children = treeOf(n.Children, filter, seen)
		}
		for _, r := range n.Records {
			record := TreeRecord{r.String(), int64(r.TTL / time.Second), r.Address, r.Target, r.Priority, r.Weight, r.Port, r.Service, r.Unused()}
			if why := filter.RejectFrom(n.Question, r.Address); r.Address.IsValid() && why != "" {
				record.Rejected = "it " + why
			}
			t.Records = append(t.Records, record)
		}
		if n.Err != nil {
			t.Error = n.Err.Error()
		}
		tree = append(tree, t)
	}
	return tree
}

// Servers are the name servers that have answered something in the tree, sorted.
func (r Report) Servers() []string { return serversOf(r.Tree) }

func serversOf(tree []TreeNode) []string {
	var servers []string
	for _, n := range tree {
		servers = append(servers, serversOf(n.Children)...)
		if n.Server != "" {
			servers = append(servers, n.Server)
		}
	}
	slices.Sort(servers)
	return slices.Compact(servers)
}
