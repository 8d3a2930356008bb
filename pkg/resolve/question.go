// Package resolve turns names into all addresses that a client or the provider may use,
// and remembers what earlier answers said.
//
// RFC 3263 says how a client picks one next hop. A fence needs the union instead:
// NAPTR, three SRV names, A and AAAA, all targets, all priorities. This package decides
// what is asked, what an answer means and what is remembered. It does not decide what
// the addresses may do.
package resolve

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Type is a type of DNS record, by its name.
type Type string

// The types that matter to SIP.
const (
	A     Type = "A"
	AAAA  Type = "AAAA"
	CNAME Type = "CNAME"
	SRV   Type = "SRV"
	NAPTR Type = "NAPTR"
)

// Question is one question to a name server. The name is in ASCII, lower case,
// complete, and without a final dot.
type Question struct {
	Name string
	Type Type
}

func (q Question) String() string { return q.Name + " " + string(q.Type) }

// Record is one record of an answer. Which fields count depends on its type.
type Record struct {
	Owner string
	Type  Type
	TTL   time.Duration

	Address netip.Addr // A, AAAA
	Target  string     // CNAME, SRV, and the replacement of NAPTR; "" is the root

	Priority, Weight, Port uint16 // SRV; Priority and Weight are order and preference of NAPTR
	Flags, Service, Regexp string // NAPTR
}

// MarshalText writes the question as String does.
func (q Question) MarshalText() ([]byte, error) { return []byte(q.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (q *Question) UnmarshalText(text []byte) error {
	name, kind, ok := strings.Cut(string(text), " ")
	if !ok || name == "" || kind == "" {
		return fmt.Errorf("read question %q: it is not a name and a type", text)
	}
	*q = Question{name, Type(kind)}
	return nil
}

// Answer is the answer of a name server. An answer without records of the asked type
// says that there are none.
type Answer struct {
	Records []Record
	// NoName says that the name does not exist at all (NXDOMAIN).
	NoName bool
	// Cut says that the server has more records than fit into a message.
	Cut bool
	// Server is who says so.
	Server string
	// Many is how many records of the asked type there are, where they are left out
	// because they are too many to be used.
	Many int
}

// Lookup asks one question and returns one answer, with the records of the aliases that
// it followed. An error says that there was no answer. It is a *Failure unless the
// context ended.
type Lookup func(ctx context.Context, q Question) (Answer, error)

// Kind says how a question failed.
type Kind string

// The kinds of failure.
const (
	Timeout     Kind = "timeout"     // no server answered in time
	Unreachable Kind = "unreachable" // no packet got through to any server
	ServFail    Kind = "servfail"    // the server failed to find out
	Refused     Kind = "refused"     // the server refused to answer
	Malformed   Kind = "malformed"   // the answer does not answer the question
	Truncated   Kind = "truncated"   // the answer is too large and TCP failed
	TooLarge    Kind = "too large"   // the answer has more records than any provider needs
	Loop        Kind = "loop"        // aliases without end
	Unasked     Kind = "unasked"     // the name has asked enough

	Gone       Kind = "gone"       // the records or the name existed earlier and do not any more
	Unbelieved Kind = "unbelieved" // all addresses of the answer were rejected
)

// Failure is the error of a question without a usable answer.
type Failure struct {
	Question Question
	Kind     Kind
	Text     string
}

func (f *Failure) Error() string { return fmt.Sprintf("%s: %s", f.Kind, f.Text) }

// String writes the content of the record as zone files do.
func (r Record) String() string {
	target := cmp.Or(r.Target, ".")
	switch r.Type {
	case A, AAAA:
		if r.TTL >= LongestTTL {
			return r.Address.String()
		}
		return fmt.Sprintf("%s (TTL %d s)", r.Address, r.TTL/time.Second)
	case SRV:
		return fmt.Sprintf("%d %d %d %s (TTL %d s)", r.Priority, r.Weight, r.Port, target, r.TTL/time.Second)
	case NAPTR:
		return fmt.Sprintf("%d %d %q %q %q %s (TTL %d s)", r.Priority, r.Weight, r.Flags, r.Service, r.Regexp, target, r.TTL/time.Second)
	}
	return target
}
