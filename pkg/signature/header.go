package signature

import "strings"

// compact maps the one-letter forms of headers to the long ones: all that IANA lists
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

// header returns a header's long name in lower case. It accepts the compact form as
// well.
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

// forms returns the names of a header in messages, in lower case.
func forms(name string) []string {
	name = header(name)
	if short, ok := compact[name]; ok {
		return []string{name, short}
	}
	return []string{name}
}

const userAgent = "user-agent"

// isRequestLine reports whether the condition is about the request line, not a header.
func (c Condition) isRequestLine() bool { return strings.EqualFold(c.Header, RequestLine) }
