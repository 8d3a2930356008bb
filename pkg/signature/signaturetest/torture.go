package signaturetest

import (
	_ "embed"
	"strconv"
	"strings"
)

//go:embed rfc4475.txt
var rfc4475 string

// Message is a message with a name.
type Message struct {
	Name  string
	Bytes []byte
}

// Torture returns the messages of RFC 4475.
func Torture() []Message {
	var messages []Message
	for _, part := range strings.Split(rfc4475, "\n== ")[1:] {
		name, text, _ := strings.Cut(part, "\n")
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		for i, line := range lines {
			// The quoted lines use Go's escapes, but their quotes are not escaped.
			plain, err := strconv.Unquote(`"` + strings.ReplaceAll(line, `"`, `\"`) + `"`)
			if err != nil {
				panic("read rfc4475.txt, " + name + ": " + line)
			}
			lines[i] = plain
		}
		message := strings.Join(lines, "\r\n") + "\r\n"
		if !strings.Contains(message, "\r\n\r\n") {
			message += "\r\n"
		}
		messages = append(messages, Message{name, []byte(message)})
	}
	return messages
}
