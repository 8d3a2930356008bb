package signature

import (
	"slices"
	"strings"
)

// Finding is one signature that matches a message, and the place of the match.
type Finding struct {
	Signature Signature
	// Header is the header's name as written in the message, "" for the request line.
	Header string
	// Line and Column are where the match begins, counted from 1. The column counts
	// bytes.
	Line, Column int
	// From and To delimit the bytes of the message that match, with the line break if
	// the match needs the end of the header.
	From, To int
}

// Explanation is all that Explain finds in a message.
type Explanation struct {
	// Request is true for a request or the beginning of one, Response for a response,
	// Empty for white space and NUL alone.
	Request, Response, Empty bool

	Findings []Finding // each signature's conditions once, in the order in which they were given
	// Allowed is the required User-Agent that the message has, "" for none.
	Allowed string
	// Result is what Match returns for the message.
	Result Result
}

// Explain does the same as Match in a slow and simple way: it splits the message into
// headers and compares strings. Match is tested against it, and it reports which
// signature matches where.
func (a *Automaton) Explain(message []byte) Explanation {
	start, text := begin(message), textOf(message)
	if !isRequest(text) {
		return Explanation{Response: isResponse(text), Empty: len(text) == 0, Result: a.other(message)}
	}
	e := Explanation{Request: true, Result: Result{Mark: None}}
	message = message[:start+len(text)]
	headers, _ := lineEnd(message, start)
	fields := append([]field{requestField(message, start, headers)}, a.fieldsOf(message, headers)...)
	for _, s := range a.signatures {
		e.Findings = append(e.Findings, findingsOf(s, fields, message)...)
	}
	for _, f := range fields {
		for _, r := range a.required {
			if _, ok := f.matches(Condition{userAgent, Prefix, r}); ok && e.Allowed == "" {
				e.Allowed = r
			}
		}
	}
	e.Result = a.judge(e)
	return e
}

// findingsOf are where all conditions of a signature match, nothing if one does not.
func findingsOf(s Signature, fields []field, message []byte) []Finding {
	var findings []Finding
	for _, c := range s.Conditions() {
		matches := false
		for _, f := range fields {
			var finding Finding
			if finding, matches = f.matches(c); matches {
				finding.Signature = s
				finding.Line = 1 + strings.Count(string(message[:finding.From]), "\n")
				finding.Column = finding.From - strings.LastIndexByte(string(message[:finding.From]), '\n')
				findings = append(findings, finding)
				break
			}
		}
		if !matches {
			return nil
		}
	}
	return findings
}

func (a *Automaton) judge(e Explanation) Result {
	for _, class := range []Class{Ban, Label} {
		var first *Finding
		for i, f := range e.Findings {
			if f.Signature.Class == class && (first == nil || f.before(*first)) {
				first = &e.Findings[i]
			}
		}
		if first != nil && class == Ban {
			return Result{Scanner, first.Signature.Name}
		}
		if first != nil {
			e.Result.Signature = first.Signature.Name
		}
	}
	if a.RequiresUserAgent() {
		e.Result.Mark = NotAllowed
		if e.Allowed != "" {
			e.Result.Mark = Allowed
		}
	}
	return e.Result
}

// before reports whether a finding counts rather than another one of its class.
func (f Finding) before(other Finding) bool {
	if len(f.Signature.All) == 0 && len(other.Signature.All) == 0 {
		return f.To < other.To
	}
	return len(f.Signature.All) == 0 && len(other.Signature.All) > 0
}

// field is a header or the request line.
type field struct {
	name string // as written
	of   string // long and in lower case, or RequestLine
	// value is the value in lower case, without white space at its ends and with a
	// single space for any white space inside. at holds the index in the message of
	// each of its bytes.
	value string
	at    []int
	// begin is the index of its first byte, end that after the value's last line, -1 if the
	// message ends before it.
	begin, end int
}

func requestField(message []byte, start, headers int) field {
	// What it ends with is known at the first byte of the line break.
	f := field{of: RequestLine, end: start + strings.IndexAny(string(message[start:headers]), "\r\n") + 1}
	f.take(message, start, headers)
	return f
}

// fieldsOf splits a message into headers (RFC 3261 section 7.3.1), up to the empty line
// or the end of the message. A carriage return alone is a line break to some servers and
// white space to others: a header is there with what follows it, too, up to the next one
// that signatures are about.
func (a *Automaton) fieldsOf(message []byte, at int) []field {
	var fields, open []field // open go on behind carriage returns
	for at < len(message) {
		end, complete := lineEnd(message, at)
		if line := string(message[at:end]); line == "\n" || line == "\r\n" {
			break
		}
		for complete && end < len(message) && isBlank(message[end]) {
			end, complete = lineEnd(message, end)
		}
		f := newField(message, at, end, complete)
		fields = append(fields, f)
		if a.asksFor(f.of) {
			open = []field{f}
		} else {
			for _, o := range open {
				fields = append(fields, o.goingOn(message, end, complete))
			}
		}
		if message[end-1] == '\n' {
			open = nil
		}
		at = end
	}
	return fields
}

// asksFor reports whether anything is looked for in a header.
func (a *Automaton) asksFor(of string) bool {
	wants := func(c Condition) bool { return !c.isRequestLine() && header(c.Header) == of }
	return of == userAgent && a.RequiresUserAgent() ||
		slices.ContainsFunc(a.signatures, func(s Signature) bool { return slices.ContainsFunc(s.Conditions(), wants) })
}

// lineEnd returns where the next line begins, and whether there is a line break
// before that: a line feed, with any number of carriage returns before it, or a carriage
// return alone.
func lineEnd(message []byte, at int) (int, bool) {
	i := strings.IndexAny(string(message[at:]), "\r\n")
	if i < 0 {
		return len(message), false
	}
	end := at + i
	for end < len(message) && message[end] == '\r' {
		end++
	}
	if end < len(message) && message[end] == '\n' {
		end++
	}
	return end, true
}

func newField(message []byte, at, end int, complete bool) field {
	f := field{begin: at, end: -1}
	if complete {
		f.end = end
	}
	text := string(message[at:end])
	colon := strings.IndexByte(text, ':')
	if colon < 0 {
		return f
	}
	f.name = strings.TrimRight(text[:colon], " \t\r\n")
	if f.name != "" && !strings.ContainsAny(f.name, " \t\r\n") && !strings.EqualFold(f.name, RequestLine) {
		f.of = header(f.name)
	}
	f.take(message, at+colon+1, end)
	return f
}

// goingOn is the same header with all up to another end.
func (f *field) goingOn(message []byte, end int, complete bool) field {
	return newField(message, f.begin, end, complete)
}

// take adds the bytes of a value in their normal form.
func (f *field) take(message []byte, from, to int) {
	space := false
	var value []byte
	for i := from; i < to; i++ {
		if b := message[i]; isSpace(b) || b == '\n' {
			space = true
		} else {
			if space && len(value) > 0 {
				value, f.at = append(value, ' '), append(f.at, i-1)
			}
			space = false
			value, f.at = append(value, fold(b)), append(f.at, i)
		}
	}
	f.value = string(value)
}

// matches compares the field with a condition.
func (f *field) matches(c Condition) (Finding, bool) {
	of := header(c.Header)
	if c.isRequestLine() {
		of = RequestLine
	}
	if f.of != of {
		return Finding{}, false
	}
	value := normal(c.Value)
	from := -1
	switch {
	case c.Match == Contains:
		from = strings.Index(f.value, value)
	case c.Match == Prefix && strings.HasPrefix(f.value, value):
		from = 0
	case c.Match == Exact && f.value == value && f.end >= 0:
		from = 0
	}
	if from < 0 {
		return Finding{}, false
	}
	finding := Finding{Header: f.name, From: f.at[from], To: f.at[from+len(value)-1] + 1}
	if c.Match == Exact {
		finding.To = f.end
	}
	return finding, true
}
