package sip

import (
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Answer is what is known of a response. The zero Answer is for what is none.
type Answer struct {
	Status int
	// Method is that of the request that it answers.
	Method string
	// Agent is what has answered, by User-Agent or Server.
	Agent string
}

// Good reports whether it has accepted a registration or a call.
func (a Answer) Good() bool {
	return a.Status >= 200 && a.Status < 300 && (a.Method == "REGISTER" || a.Method == "INVITE")
}

// ReadAnswer reads the head of a response, of which the end may be missing.
func ReadAnswer(message []byte) (a Answer) {
	defer func() {
		if recover() != nil { // as in Read
			a = Answer{}
		}
	}()
	line, headers := split(message)
	if words := strings.Fields(line); len(words) < 2 || !isVersion(words[0]) {
		return Answer{}
	}
	parser := sip.NewParser(sip.WithHeadersParsers(nil))
	parsed, _, _ := parser.ParseHeaders([]byte(line+"\r\n"+headers+"\r\n"), false)
	response, ok := parsed.(*sip.Response)
	if !ok {
		return Answer{}
	}
	a.Status = response.StatusCode
	if sequence := response.GetHeader("CSeq"); sequence != nil {
		if words := strings.Fields(sequence.Value()); len(words) == 2 && isToken(words[1]) {
			a.Method = words[1]
		}
	}
	for _, name := range []string{"User-Agent", "Server"} {
		if agent := response.GetHeader(name); agent != nil && a.Agent == "" {
			a.Agent = Clean(agent.Value())
		}
	}
	return a
}
