package signature

import "strings"

// compact holds the one-letter forms of headers, all of those that IANA lists
// (registry "Session Initiation Protocol (SIP) Parameters", Header Fields).
var compact = map[string]string{
	"accept-contact":      "a",
	"referred-by":         "b",
	"content-type":        "c",
	"request-disposition": "d",
	"content-encoding":    "e",
	"from":                "f",
	"call-id":             "i",
	"reject-contact":      "j",
	"supported":           "k",
	"content-length":      "l",
	"contact":             "m",
	"identity-info":       "n",
	"event":               "o",
	"refer-to":            "r",
	"subject":             "s",
	"to":                  "t",
	"allow-events":        "u",
	"via":                 "v",
	"session-expires":     "x",
	"identity":            "y",
}

// header is a header's long name in lower case, also for its compact form.
func header(name string) string {
	name = lower(name)
	if len(name) == 1 {
		for long, short := range compact {
			if short == name {
				return long
			}
		}
	}
	return name
}

// forms are the names that a header has in messages, in lower case.
func forms(name string) []string {
	name = header(name)
	if short, ok := compact[name]; ok {
		return []string{name, short}
	}
	return []string{name}
}

const userAgent = "user-agent"

// isRequestLine reports whether the signature looks at the request line, not at
// a header.
func (s Signature) isRequestLine() bool { return strings.EqualFold(s.Header, RequestLine) }
