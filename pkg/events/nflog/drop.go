package nflog

import (
	"context"
	"time"

	"github.com/ringfence/ringfence/pkg/capture"
	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/sip"
)

// Read hands each packet to take, until the context ends, which is not an error.
func (r *Reader) Read(ctx context.Context, take func(events.Drop)) error {
	return r.receive(ctx, func(l logged) {
		if d, ok := r.drop(l, time.Now()); ok {
			take(d)
		}
	})
}

// drop reads what a packet is. Anybody can send any packet: one that a library panics of
// is left out.
func (r *Reader) drop(l logged, now time.Time) (d events.Drop, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	p := capture.Bare(l.beginning)
	if !p.Source.Addr().IsValid() || !isReason(l.reason) {
		return d, false
	}
	head := sip.Read(p.Payload)
	d = events.Drop{
		Time: now, Source: p.Source.Addr(), SourcePort: p.Source.Port(), Port: p.Destination.Port(), Protocol: p.Protocol,
		Interface: r.nameOf(l.link), Reason: l.reason, Method: head.Method, UserAgent: head.UserAgent, Called: head.Called,
	}
	if r.Signature != nil {
		d.Signature = r.Signature(p.Payload)
	}
	return d, true
}

// isReason reports whether a prefix is a word as rules of ringfence have. Others may log to
// the group, too.
func isReason(prefix string) bool {
	for _, c := range []byte(prefix) {
		if (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return prefix != "" && len(prefix) <= 32
}
