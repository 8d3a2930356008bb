//go:build !linux

package resolve

import (
	"context"
	"errors"

	"github.com/miekg/dns"
)

// batch is for Linux.
type batch struct{}

func newBatch() *batch { return nil }

func (*batch) ask(context.Context, *server, *dns.Msg) (*dns.Msg, error) {
	return nil, errors.ErrUnsupported
}
