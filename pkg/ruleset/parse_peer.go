package ruleset

import (
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// peerForm is the syntax of a peer, in three groups.
const peerForm = `ip(6?) ([sd])addr( \. th [sd]port)?`

// peerForms are the forms of the statements in peer.go.
func peerForms() []form {
	return []form{
		{regexp.MustCompile(`^` + peerForm + ` (!= )?@(\w+)`), func(g []string) (Statement, bool) {
			p, ok := parsePeer(g[1:])
			return PeerIn{Peer: p, Not: g[4] != "", Set: g[5]}, ok && (p.Answer || p.Port)
		}},
		{regexp.MustCompile(`^update @(\w+) \{ ` + peerForm + ` timeout (\w+)( limit rate over (\d+)/(\w+)(?: burst (\d+) packets)?)? \}`), parseLearn},
		{regexp.MustCompile(`^delete @(\w+) \{ ` + peerForm + ` \}`), func(g []string) (Statement, bool) {
			p, ok := parsePeer(g[2:])
			return Forget{Peer: p, Set: g[1]}, ok
		}},
		{regexp.MustCompile(`^meta l4proto \. th sport @(\w+)`), func(g []string) (Statement, bool) { return SourcePort{Set: g[1]}, true }},
		{regexp.MustCompile(`^meta l4proto (udp|tcp) ct reply proto-src (\d+)`), func(g []string) (Statement, bool) {
			port, err := strconv.ParseUint(g[2], 10, 16)
			return RepliedFrom{Protocol(g[1]), uint16(port)}, err == nil
		}},
		{regexp.MustCompile(`^meta l4proto (udp|tcp|sctp|dccp|udplite)\b`), func(g []string) (Statement, bool) { return Transport{Protocol(g[1])}, true }},
		{regexp.MustCompile(`^tcp doff (\d+)`), func(g []string) (Statement, bool) {
			words, err := strconv.Atoi(g[1])
			return TCPHeader{words}, err == nil && words >= 5 && words <= 15
		}},
		{regexp.MustCompile(`^tcp flags syn / syn,ack`), func([]string) (Statement, bool) { return Opening{}, true }},
		{regexp.MustCompile(`^ip frag-off & 16383 != 0`), func([]string) (Statement, bool) { return Fragment{}, true }},
		{regexp.MustCompile(`^@th,(\d+),8 >= 0x0`), func(g []string) (Statement, bool) {
			offset, ok := parseOffset(g[1])
			return Reaches{offset}, ok
		}},
		{regexp.MustCompile(`^@th,(\d+),(\d+) 0x([0-9a-f]{1,32})\b`), parseText},
	}
}

// mostOffset is how far behind the transport header's beginning a rule can look.
const mostOffset = 255

// parseOffset reads a place in bits. It is one of a whole byte behind the ports.
func parseOffset(text string) (bytes int, ok bool) {
	bits, err := strconv.Atoi(text)
	return bits / 8, err == nil && bits%8 == 0 && bits >= 64 && bits/8 <= mostOffset
}

// mostText is how many bytes a rule compares at once: those of a whole register.
const mostText = 16

func parseText(g []string) (Statement, bool) {
	offset, ok := parseOffset(g[1])
	bits, err := strconv.Atoi(g[2])
	if !ok || err != nil || bits%8 != 0 || bits < 8 || bits > 8*mostText || len(g[3]) > bits/4 {
		return nil, false
	}
	text, err := hex.DecodeString(strings.Repeat("0", bits/4-len(g[3])) + g[3])
	return Text{offset, string(text)}, err == nil
}

func parseLearn(g []string) (Statement, bool) {
	p, ok := parsePeer(g[2:])
	s := Learn{Peer: p, Set: g[1]}
	life, good := parseDuration(g[5])
	s.For = life
	if g[6] == "" {
		return s, ok && good && (p.Answer || p.Port)
	}
	var err error
	if s.Over.Rate, err = strconv.ParseUint(g[7], 10, 64); err != nil {
		return nil, false
	}
	s.Over.Per, s.Over.Burst = limitUnit(g[8]), defaultBurst
	if g[9] != "" {
		burst, err := strconv.ParseUint(g[9], 10, 32)
		if err != nil {
			return nil, false
		}
		s.Over.Burst = uint32(burst)
	}
	return s, ok && good && s.Over.Per > 0
}

func limitUnit(name string) time.Duration {
	for _, u := range limitUnits {
		if u.name == name {
			return u.per
		}
	}
	return 0
}
