package nft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// ReadProxies reads the ways by which rules of other programs hand packets to servers on
// other ports. last is what an earlier call has returned: nothing is read if nobody has
// changed anything since.
func ReadProxies(ctx context.Context, last ruleset.Proxied) (ruleset.Proxied, error) {
	var now ruleset.Proxied
	r, err := newReader()
	if err != nil {
		return now, err
	}
	defer r.close()
	id, err := r.genID(ctx)
	if errors.Is(err, ErrUnsupported) {
		return now, nil // nor are there rules of iptables-nft
	}
	if err != nil {
		return now, fmt.Errorf("read generation: %w", err)
	}
	if boot, namespace, err := identity(); err == nil {
		now.Mark = fmt.Sprintf("%s %d %d", boot, namespace, id)
	}
	if now.Mark != "" && now.Mark == last.Mark {
		return last, nil
	}
	for _, f := range families {
		if f.number == unix.NFPROTO_BRIDGE || f.number == unix.NFPROTO_NETDEV {
			continue // packets that are to be judged come there before
		}
		var some bool
		if err := steadily(func() (err error) { some, err = proxyIn(ctx, r, f.number); return err }); err != nil {
			return now, fmt.Errorf("read rules of others: %w", err)
		}
		if !some {
			continue
		}
		now.Any = true
		var others ruleset.Others
		if err := steadily(func() (err error) { others, err = readOthers(ctx, f.number, f.name, f.hooks); return err }); err != nil {
			return now, fmt.Errorf("read tables of others: %w", err)
		}
		now.Ways = append(now.Ways, ruleset.Proxies(others.Chains)...)
	}
	return now, nil
}

// proxyIn reports whether a rule of another program in a family may hand packets to a
// server on another port. It reads the rules of those tables that packets come to which
// are judged, and looks hardly at them: there may be very many.
func proxyIn(ctx context.Context, r *reader, family byte) (found bool, err error) {
	r.family = family
	var tables []string
	err = r.dump(ctx, unix.NFT_MSG_GETCHAIN, func(b []byte) {
		name, hook := text(attribute(b, unix.NFTA_CHAIN_TABLE)), attribute(b, unix.NFTA_CHAIN_HOOK)
		if len(hook) == 0 || family == unix.NFPROTO_INET && name == ruleset.Table || slices.Contains(tables, name) {
			return
		}
		if n := number(attribute(hook, unix.NFTA_HOOK_HOOKNUM)); n < uint64(len(hooks)) && hooks[n] != "output" && hooks[n] != "ingress" {
			tables = append(tables, name)
		}
	})
	for _, table := range tables {
		if err != nil || found {
			break
		}
		err = r.dump(ctx, unix.NFT_MSG_GETRULE, func(b []byte) {
			found = found || isProxy(attribute(b, unix.NFTA_RULE_EXPRESSIONS))
		}, textAttribute(unix.NFTA_RULE_TABLE, table))
		if errors.Is(err, unix.ENOENT) {
			err = nil // it has just gone
		}
	}
	return found, err
}

// isProxy reports whether the expressions of a rule may hand packets to a server on
// another port.
func isProxy(data []byte) bool {
	if bytes.Contains(data, []byte("tproxy\x00")) || bytes.Contains(data, []byte("TPROXY\x00")) {
		return true
	}
	if !bytes.Contains(data, []byte("payload\x00")) {
		return false
	}
	return slices.ContainsFunc(expressions(data), func(e expression) bool {
		return e.name == "payload" && len(attribute(e.data, unix.NFTA_PAYLOAD_SREG)) > 0
	})
}
