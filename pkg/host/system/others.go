package system

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/host"
)

// lookEvery is how often it is looked at what no program and no kernel reports: which
// tables iptables-legacy has, which may translate ports, and the switches of br_netfilter.
const lookEvery = time.Second

// The chains of nf_tables are read when one of them has changed. With very many of them,
// which change all the time, that takes one part in restAfterRead of the time, and more only
// if a reading takes longer than that part of lookEvery.
const (
	shortestRest  = 50 * time.Millisecond
	restAfterRead = 100
)

// others watches what of the rules of other programs a fence depends on.
type others struct {
	rules, reports *netlink.Conn // nil where the kernel does not let us have them
	touched        chan struct{} // has room for one
	// proxy says that a rule has come that hands packets to a server on another port.
	proxy atomic.Bool
	last  otherState
}

// otherState is what a fence depends on, as it was found.
type otherState struct {
	chains

	legacy       []string
	bridgeFilter bool
}

// watchOthers begins with what is there now. Who may not read and hear what there is finds
// nothing.
func watchOthers() *others {
	o := &others{touched: make(chan struct{}, 1)}
	if conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil); err == nil {
		o.rules = conn
	}
	if conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)}); err == nil {
		_ = conn.SetReadBuffer(watchBuffer)
		o.reports = conn
	}
	o.last.look()
	if o.last.read(o.rules) != nil {
		o.touch()
	}
	return o
}

func (o *others) close() {
	for _, conn := range []*netlink.Conn{o.rules, o.reports} {
		if conn != nil {
			conn.Close()
		}
	}
}

// listen notes changes of chains until its socket is closed.
func (o *others) listen(ctx context.Context) {
	if o.reports == nil {
		<-ctx.Done()
		return
	}
	for {
		messages, err := o.reports.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) { // that more has changed than it had room for is a change
			return
		}
		if err != nil || slices.ContainsFunc(messages, matters) {
			o.touch()
		}
		if err != nil || slices.ContainsFunc(messages, isProxy) {
			o.proxy.Store(true)
		}
	}
}

// touch has the chains read soon.
func (o *others) touch() {
	select {
	case o.touched <- struct{}{}:
	default:
	}
}

// matters reports whether a message may be about a chain that a fence depends on. Programs
// that change rules and the elements of sets all the time wake nobody.
func matters(m netlink.Message) bool {
	switch uint16(m.Header.Type) {
	case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWCHAIN:
		c := readChain(m.Data)
		return c.nat || c.isFence()
	case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELCHAIN: // it may have been of any type
		return true
	}
	return false
}

// watch reports changes until the context ends.
func (o *others) watch(ctx context.Context, report func(host.Change)) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	// Once in the first second it looks early: at whole seconds, as the others who look from
	// time to time, so that the process wakes up once for all of them.
	whole := time.NewTimer(time.Until(time.Now().Truncate(lookEvery).Add(lookEvery)))
	defer whole.Stop()
	rested := time.NewTimer(0)
	defer rested.Stop()
	touched := o.touched // nil while it rests
	for {
		next := o.last
		select {
		case <-ctx.Done():
			return
		case <-rested.C:
			touched = o.touched
		case <-whole.C:
			tick.Reset(lookEvery)
			next.look()
			o.reportProxy(report)
		case <-tick.C:
			next.look()
			o.reportProxy(report)
		case <-touched:
			began := time.Now()
			if next.read(o.rules) != nil {
				o.touch() // to read again after the rest
			}
			touched = nil
			rested.Reset(min(max(shortestRest, restAfterRead*time.Since(began)), lookEvery))
		}
		for _, c := range o.last.changes(next) {
			report(c)
		}
		o.last = next
	}
}

// reportProxy reports rules that have come. Programs may make such ones all the time.
func (o *others) reportProxy(report func(host.Change)) {
	if o.proxy.Swap(false) {
		report(host.Change{What: "rules of other programs may hand packets to servers on other ports"})
	}
}

// look reads what nobody reports.
func (s *otherState) look() { s.legacy, s.bridgeFilter = legacyTables(), bridgeFilter() }

// read reads the chains.
func (s *otherState) read(conn *netlink.Conn) error {
	if conn == nil {
		return nil
	}
	c, err := readChains(conn)
	if err == nil {
		s.chains = c
	}
	return err
}

// changes are what is otherwise in the next state. Rules that have begun to translate ports
// let in what no rule of the fence judges yet.
func (s *otherState) changes(next otherState) []host.Change {
	var list []host.Change
	if !slices.Equal(s.legacy, next.legacy) {
		list = append(list, host.Change{What: "the tables of iptables-legacy have changed", Urgent: true})
	}
	if s.translating != next.translating {
		list = append(list, host.Change{What: "whether other programs translate ports may have changed", Urgent: next.translating})
	}
	if !slices.Equal(s.fences, next.fences) {
		list = append(list, host.Change{What: "a fence of another back end may have come or gone"})
	}
	if s.bridgeFilter != next.bridgeFilter {
		list = append(list, host.Change{What: "whether rules see what bridges pass on has changed"})
	}
	return list
}
