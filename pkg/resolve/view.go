package resolve

import (
	"slices"
	"strings"
)

// View is the part of a name's tree that a client uses if it is given a SIP URI (RFC
// 3263 section 4). The zero View is the whole tree.
type View struct {
	port      bool   // the URI has a port: neither NAPTR nor SRV is asked for
	transport string // the transport of the URI, in lower case
}

// ViewOf reads a valid registrar, as the policy writes it.
func ViewOf(text string) View {
	var v View
	rest := strings.ToLower(text)
	if after, ok := strings.CutPrefix(rest, "sips:"); ok {
		rest, v.transport = after, "tls"
	}
	rest = strings.TrimPrefix(rest, "sip:")
	host, parameters, _ := strings.Cut(rest, ";")
	for parameter := range strings.SplitSeq(parameters, ";") {
		if name, value, _ := strings.Cut(parameter, "="); name == "transport" && v.transport == "" {
			v.transport = value
		}
	}
	v.port = strings.Contains(host[strings.LastIndex(host, "@")+1:], ":")
	return v
}

// transport is what DNS calls a transport: in NAPTR and in SRV names.
type transport struct {
	naptr    string
	services []string
}

var byTransport = map[string]transport{
	"udp": {"SIP+D2U", []string{"_sip._udp"}}, "tcp": {"SIP+D2T", []string{"_sip._tcp"}},
	"tls":  {"SIPS+D2T", []string{"_sips._tcp", "_sip._tls", "_sips._tls"}},
	"sctp": {"SIP+D2S", []string{"_sip._sctp"}}, "ws": {"SIP+D2W", []string{"_sip._ws"}}, "wss": {"SIPS+D2W", []string{"_sips._ws"}},
}

// Narrow returns the part of a target's tree that the view shows.
func (v View) Narrow(roots []*Node, t Target) []*Node {
	if v == (View{}) || t.isService() {
		return roots
	}
	by := byTransport[v.transport]
	var seen []*Node
	for _, n := range roots {
		service := strings.TrimSuffix(n.Question.Name, "."+t.Name)
		switch {
		case n.Question.Type == A, n.Question.Type == AAAA, n.Question.Type == HostsFile:
			seen = append(seen, n)
		case v.port:
		case n.Question.Type == SRV && slices.Contains(by.services, service):
			seen = append(seen, n)
		case n.Question.Type == NAPTR:
			part := *n
			part.Records = slices.DeleteFunc(slices.Clone(n.Records), func(r Record) bool { return !strings.EqualFold(r.Service, by.naptr) })
			part.Children = slices.DeleteFunc(slices.Clone(n.Children), func(c *Node) bool {
				return !strings.HasPrefix(c.Step, "NAPTR "+by.naptr+" ")
			})
			seen = append(seen, &part)
		}
	}
	return seen
}
