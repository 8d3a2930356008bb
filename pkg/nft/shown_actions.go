package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

func (r *rewriting) immediate(e expression) bool {
	if e.number(unix.NFTA_IMMEDIATE_DREG) != unix.NFT_REG_VERDICT {
		value := bytes.Clone(e.value(unix.NFTA_IMMEDIATE_DATA))
		return r.load(e.number(unix.NFTA_IMMEDIATE_DREG), loaded{text: "0x" + fmt.Sprintf("%x", value), value: value})
	}
	if verdict := guessVerdict(e); verdict != nil {
		return r.say(verdict.String())
	}
	return false
}

func (r *rewriting) dynset(e expression) bool {
	_, text := r.key(e.number(unix.NFTA_DYNSET_SREG_KEY))
	word, ok := map[uint64]string{0: "add", 1: "update", 2: "delete"}[e.number(unix.NFTA_DYNSET_OP)]
	if timeout := e.number(unix.NFTA_DYNSET_TIMEOUT); timeout != 0 {
		text += fmt.Sprintf(" timeout %s", milliseconds(timeout))
	}
	if inner := attribute(e.data, unix.NFTA_DYNSET_EXPR); inner != nil {
		text += " " + expressionOf(inner).name
	}
	return ok && r.say(word, "@"+e.text(unix.NFTA_DYNSET_SET_NAME), "{ "+text+" }")
}

func (r *rewriting) log(e expression) bool {
	words := []string{"log"}
	if prefix := e.text(unix.NFTA_LOG_PREFIX); prefix != "" {
		words = append(words, "prefix", strconv.Quote(prefix))
	}
	if group := attribute(e.data, unix.NFTA_LOG_GROUP); len(group) == 2 {
		words = append(words, "group", strconv.Itoa(int(binary.BigEndian.Uint16(group))))
	}
	if snaplen := e.number(unix.NFTA_LOG_SNAPLEN); snaplen != 0 {
		words = append(words, "snaplen", strconv.FormatUint(snaplen, 10))
	}
	return r.say(words...)
}

func (r *rewriting) limit(e expression) bool {
	unit, ok := map[uint64]string{1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}[e.number(unix.NFTA_LIMIT_UNIT)]
	over, what := "", ""
	if e.number(unix.NFTA_LIMIT_FLAGS)&unix.NFT_LIMIT_F_INV != 0 {
		over = "over"
	}
	if e.number(unix.NFTA_LIMIT_TYPE) == unix.NFT_LIMIT_PKT_BYTES {
		what = " bytes"
	}
	words := []string{"limit rate", over, fmt.Sprintf("%d%s/%s", e.number(unix.NFTA_LIMIT_RATE), what, unit)}
	if burst := e.number(unix.NFTA_LIMIT_BURST); burst != 5 && what == "" {
		words = append(words, fmt.Sprintf("burst %d packets", burst))
	}
	return ok && r.say(words...)
}
