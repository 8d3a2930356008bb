//go:build !linux

package resolve

import (
	"context"
	"errors"

	"github.com/miekg/dns"
)

// post is for Linux.
type post struct{}

func newPost() *post { return nil }

func (*post) ask(context.Context, *server, *dns.Msg) (*dns.Msg, error) {
	return nil, errors.ErrUnsupported
}
