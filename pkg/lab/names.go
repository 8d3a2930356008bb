package lab

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// NameServer is a name server at one address of a host.
type NameServer struct {
	servers []*dns.Server
	running sync.WaitGroup
}

// patience is how long a name server waits for the rest of a question, and for an
// answer to be received. On a busy machine this takes long.
const patience = time.Minute

// ServeNames starts a name server at an address and port, such as "192.0.2.53:53". It
// is ready when ServeNames returns.
func (n *Namespace) ServeNames(address string, handler dns.Handler) (*NameServer, error) {
	return n.serveNames(address, handler, true)
}

// ServeNamesByUDP is ServeNames without TCP: connections are refused.
func (n *Namespace) ServeNamesByUDP(address string, handler dns.Handler) (*NameServer, error) {
	return n.serveNames(address, handler, false)
}

func (n *Namespace) serveNames(address string, handler dns.Handler, tcp bool) (*NameServer, error) {
	s := &NameServer{}
	err := n.Do(func() error {
		packets, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		s.servers = []*dns.Server{{PacketConn: packets, Handler: handler}}
		if !tcp {
			return nil
		}
		connections, err := net.Listen("tcp", address)
		if err != nil {
			return errors.Join(err, packets.Close())
		}
		s.servers = append(s.servers, &dns.Server{Listener: connections, Handler: handler})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("serve names at %s in %s: %w", address, n.Name, err)
	}
	for _, server := range s.servers {
		server.ReadTimeout, server.WriteTimeout = patience, patience
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		failed := make(chan error, 1)
		s.running.Go(func() { failed <- server.ActivateAndServe() })
		select {
		case <-started:
		case err := <-failed:
			return nil, fmt.Errorf("serve names at %s in %s: %w", address, n.Name, errors.Join(err, s.Close()))
		}
	}
	return s, nil
}

// Close stops the server and waits until it has stopped.
func (s *NameServer) Close() error {
	var err error
	for _, server := range s.servers {
		err = errors.Join(err, server.Shutdown())
	}
	s.running.Wait()
	return err
}

// Zone answers with authority from its records, which can be changed while it serves.
type Zone struct {
	mu      sync.RWMutex
	records []dns.RR
}

// NewZone makes a zone of records as in a zone file, one on each line, with full names.
func NewZone(text string) (*Zone, error) {
	z := &Zone{}
	return z, z.Set(text)
}

// Set replaces all records.
func (z *Zone) Set(text string) error {
	var records []dns.RR
	parser := dns.NewZoneParser(strings.NewReader(text), ".", "zone")
	for r, ok := parser.Next(); ok; r, ok = parser.Next() {
		records = append(records, r)
	}
	if err := parser.Err(); err != nil {
		return fmt.Errorf("read zone: %w", err)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records = records
	return nil
}

// ServeDNS answers with the records of the asked name and type. It follows an alias
// within the zone. A name without records does not exist, unless something below it
// exists (RFC 8020).
func (z *Zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	// An error means that the client is gone.
	_ = w.WriteMsg(z.Answer(q))
}

// Answer returns the answer to a question.
func (z *Zone) Answer(q *dns.Msg) *dns.Msg {
	z.mu.RLock()
	defer z.mu.RUnlock()
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		return m
	}
	name := dns.CanonicalName(q.Question[0].Name)
	for range 1 + len(z.records) { // limits a loop of aliases
		exists := false
		alias := ""
		for _, r := range z.records {
			owner := dns.CanonicalName(r.Header().Name)
			exists = exists || dns.IsSubDomain(name, owner)
			if owner != name {
				continue
			}
			if cname, ok := r.(*dns.CNAME); ok {
				alias = dns.CanonicalName(cname.Target)
			}
			if r.Header().Rrtype == q.Question[0].Qtype || r.Header().Rrtype == dns.TypeCNAME {
				m.Answer = append(m.Answer, r)
			}
		}
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
		if alias == "" || q.Question[0].Qtype == dns.TypeCNAME {
			break
		}
		name = alias
	}
	return m
}
