package system

import (
	"context"
	"errors"
	"fmt"

	"github.com/ringfence/ringfence/pkg/host/dump"

	"github.com/mdlayher/netlink"
	rtnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/host"
)

// groups are the rtnetlink groups for what the facts depend on: interfaces, addresses,
// routes, rules, forwarding, and filters of incoming packets.
var groups = []uint32{
	unix.RTNLGRP_LINK, unix.RTNLGRP_TC,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_NETCONF,
	unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV6_NETCONF,
	unix.RTNLGRP_NEXTHOP,
}

// watchBuffer is the size of the buffer for what the kernel reports.
const watchBuffer = 1 << 20

// Watch reports changes of the calling thread's network namespace, of what rules of other
// programs mean for a fence, and of files, which need not exist, until the context ends.
// Then, or if reports of one of them end, the channel is closed. A receiver that reads the facts after a change finds the
// change in them.
func Watch(ctx context.Context, files []string) (<-chan host.Change, error) {
	w := &watcher{changes: make(chan host.Change, 16), names: map[int]string{}}
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	for _, group := range groups {
		// A kernel without IPv6, nexthop objects or policy routing has fewer groups.
		if err := conn.JoinGroup(group); err != nil && group == unix.RTNLGRP_LINK {
			conn.Close()
			return nil, fmt.Errorf("listen to changes of interfaces: %w", err)
		}
	}
	_ = conn.SetReadBuffer(watchBuffer)
	// Read the names after joining the groups, so that no change is missed.
	links, err := dump.Whole(rtnetlink.LinkList)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("read interfaces: %w", err)
	}
	for _, l := range links {
		w.names[l.Attrs().Index] = l.Attrs().Name
	}
	watched, err := newFiles(files)
	if err != nil {
		conn.Close()
		return nil, err
	}
	others := watchOthers()
	ctx, w.stop = context.WithCancel(ctx)
	context.AfterFunc(ctx, func() {
		conn.Close()
		watched.close()
		others.close()
	})
	w.running.Add(4)
	go w.do(func() { w.network(ctx, conn) })
	go w.do(func() { watched.run(func(c host.Change) { w.send(ctx, c) }) })
	go w.do(func() { others.watch(ctx, func(c host.Change) { w.send(ctx, c) }) })
	go w.do(func() { others.listen(ctx) })
	go func() {
		w.running.Wait()
		close(w.changes)
	}()
	return w.changes, nil
}

// do runs one part of a watcher, and stops the others when it ends.
func (w *watcher) do(part func()) {
	defer w.running.Done()
	defer w.stop()
	part()
}

func (w *watcher) send(ctx context.Context, c host.Change) {
	select {
	case w.changes <- c:
	case <-ctx.Done():
	}
}

func (w *watcher) network(ctx context.Context, conn *netlink.Conn) {
	for {
		messages, err := conn.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			w.send(ctx, host.Change{What: "more has changed on the network than the kernel could report", Lost: true})
			continue
		}
		if err != nil {
			return
		}
		for _, m := range messages {
			if c, matters := w.change(m.Header, m.Data); matters {
				w.send(ctx, c)
			}
		}
	}
}
