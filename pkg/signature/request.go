package signature

// What servers pass over before a request line, and what they take for one, is more than
// RFC 3261 allows. Kamailio 5.6 passes over NUL, white space and line breaks of any
// number, and takes a version that only begins with 2.0. pjsip allows white space and
// folding around the version's slash, and a lone carriage return in place of a line
// break. chan_sip does not look at what is behind the version. Nobody is to get past the
// signatures with any of these.

// begin is where the text of a message begins: behind NUL, white space and line breaks.
func begin(message []byte) int {
	for i, b := range message {
		if !isSpace(b) && b != '\n' && b != 0 {
			return i
		}
	}
	return len(message)
}

// textOf is what is read of a message.
func textOf(message []byte) []byte {
	text := message[begin(message):]
	return text[:min(len(text), MaxLength)]
}

// isRequest reports whether a text begins with a request line: a whole line that holds,
// behind white space, a version of SIP. To Kamailio, what begins with "SIP/2.0" and anything
// else than a status is a method.
// Anything else is no request: responses, keep-alives, RTP, TLS, a TCP segment out of
// the middle of a message.
func isRequest(text []byte) bool {
	if isResponse(text) {
		return false
	}
	if _, complete := lineEnd(text, 0); !complete {
		return false
	}
	state := uint8(0)
	for _, b := range text {
		state = Versions.Next[state][Versions.Classes[b]]
		if state >= VersionFound {
			break
		}
	}
	return endsInVersion(state)
}

// isResponse reports whether a text begins with a response's status line.
func isResponse(text []byte) bool {
	const version = "sip/2.0"
	if len(text) < len(version) || lower(string(text[:len(version)])) != version {
		return false
	}
	status := text[len(version):]
	if len(status) < 4 || !isBlank(status[0]) {
		return false
	}
	for _, b := range status[1:4] {
		if b < '0' || b > '9' {
			return false
		}
	}
	return true
}

// ShortDatagram is how long a datagram may be that is no request and passes all the same
// where a User-Agent is required: keep-alives have four bytes or fewer, a STUN binding
// request has twenty.
const ShortDatagram = 32

// isHarmless reports whether a datagram that is no request passes where a User-Agent is
// required: a response, or a keep-alive.
func isHarmless(datagram []byte) bool {
	return len(datagram) < ShortDatagram || len(textOf(datagram)) == 0 || isResponse(textOf(datagram))
}

// VersionTable finds the version in a request line, and where that line ends, which
// white space at the beginning of the next line goes on with.
type VersionTable struct {
	Classes [256]uint8
	Next    [versionStates][versionClasses]uint8 // by state and class
}

// The states of a VersionTable begin with 0. From VersionFound on they are the end.
const (
	VersionFound   = 62 // it is a request line
	VersionMissing = 63 // it is none

	versionStates  = 64
	versionClasses = 16
)

// The states of a line; in a break behind one they are higher by afterReturn or
// afterFeed.
const (
	inWord      = iota // and it is not the version
	inSpace            // before a word
	inS                // "S"
	inSI               // "SI"
	inSIP              // "SIP"
	behindSIP          // and white space
	inSlash            // "SIP/"
	behindSlash        // and white space
	inVersion          // a digit, and what is no slash
	inMore             // the same with a slash: it has to be the last word
	behindMore         // white space behind that
	lineStates

	afterReturn = 16
	afterFeed   = 32
)

const (
	classOther = iota
	classSpace
	classS
	classI
	classP
	classSlash
	classDigit
	classReturn
	classFeed
)

// Versions is that table. It must not be changed.
var Versions = newVersions()

func newVersions() *VersionTable {
	t := &VersionTable{}
	for class, bytes := range []string{classSpace: " \t", classS: "sS", classI: "iI", classP: "pP", classSlash: "/", classDigit: "0123456789", classReturn: "\r", classFeed: "\n"} {
		for i := range len(bytes) {
			t.Classes[bytes[i]] = uint8(class)
		}
	}
	for state := range versionStates {
		for class := range versionClasses {
			t.Next[state][class] = nextVersion(state, class)
		}
	}
	return t
}

func nextVersion(state, class int) uint8 {
	line := state % afterReturn
	switch {
	case state >= VersionFound:
		return uint8(state)
	case state >= lineStates && class == classSpace:
		return nextInLine(line, classSpace) // the line goes on
	case state >= afterReturn && state < afterFeed && class == classReturn:
		return uint8(state)
	case state >= afterReturn && state < afterFeed && class == classFeed:
		return uint8(afterFeed + line)
	case state >= lineStates:
		if endsInVersion(uint8(line)) {
			return VersionFound
		}
		return VersionMissing
	case class == classReturn && line != inVersion:
		return uint8(afterReturn + line)
	case class == classFeed && line != inVersion:
		return uint8(afterFeed + line)
	}
	return nextInLine(line, class)
}

func nextInLine(line, class int) uint8 {
	behind := line == inSpace || line == behindSIP || line == behindSlash || line == behindMore
	switch {
	case line == inVersion && (class == classSpace || class == classReturn || class == classFeed):
		return VersionFound
	case line == inVersion && class != classSlash, line == inMore && class != classSpace:
		return uint8(line)
	case line == inVersion:
		return inMore
	case class == classSpace:
		switch line {
		case inSIP, behindSIP:
			return behindSIP
		case inSlash, behindSlash:
			return behindSlash
		case inMore, behindMore:
			return behindMore
		}
		return inSpace
	case behind && class == classS:
		return inS
	case line == inS && class == classI:
		return inSI
	case line == inSI && class == classP:
		return inSIP
	case (line == inSIP || line == behindSIP) && class == classSlash:
		return inSlash
	case (line == inSlash || line == behindSlash) && class == classDigit:
		return inVersion
	}
	return inWord
}

// endsInVersion reports whether a line that ends in a state is a request line.
func endsInVersion(state uint8) bool {
	line := state % afterReturn
	return state == VersionFound || state < VersionFound && (line == inVersion || line == inMore || line == behindMore)
}
