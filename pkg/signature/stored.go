package signature

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"unicode/utf8"
)

// stored is what of an automaton is stored as JSON. Behind it are the large tables, in
// numbers of two and four bytes.
type stored struct {
	Signatures   []Signature
	Required     []string
	Table        Table // without Next
	Sieve        Sieve // without Groups
	Next, Groups int   // their lengths
}

// MarshalBinary writes an automaton, for UnmarshalBinary of the same version. It refuses
// texts that JSON cannot hold: those that are not UTF-8.
func (a *Automaton) MarshalBinary() ([]byte, error) {
	for _, s := range a.signatures {
		for _, c := range s.Conditions() {
			if !utf8.ValidString(c.Value) {
				return nil, fmt.Errorf("write automaton: signature %q has a text that is not UTF-8", s.Name)
			}
		}
	}
	if i := slices.IndexFunc(a.required, func(agent string) bool { return !utf8.ValidString(agent) }); i >= 0 {
		return nil, fmt.Errorf("write automaton: required User-Agent %q is not UTF-8", a.required[i])
	}
	head := stored{a.signatures, a.required, a.table, a.sieve, len(a.table.Next), len(a.sieve.Groups)}
	head.Table.Next, head.Sieve.Groups = nil, nil
	text, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("write automaton: %w", err)
	}
	data := binary.LittleEndian.AppendUint32(nil, uint32(len(text)))
	data = append(data, text...)
	for _, state := range a.table.Next {
		data = binary.LittleEndian.AppendUint16(data, state)
	}
	for _, group := range a.sieve.Groups {
		data = binary.LittleEndian.AppendUint32(data, group)
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err == nil {
		_, err = w.Write(data)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("write automaton: %w", err)
	}
	return b.Bytes(), nil
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (a *Automaton) UnmarshalBinary(data []byte) error {
	data, err := io.ReadAll(flate.NewReader(bytes.NewReader(data)))
	if err != nil {
		return fmt.Errorf("read automaton: %w", err)
	}
	var head stored
	if len(data) < 4 {
		return errors.New("read automaton: it is too short")
	}
	n := int(binary.LittleEndian.Uint32(data))
	if data = data[4:]; n > len(data) {
		return errors.New("read automaton: it is too short")
	}
	if err := json.Unmarshal(data[:n], &head); err != nil {
		return fmt.Errorf("read automaton: %w", err)
	}
	if data = data[n:]; len(data) != 2*head.Next+4*head.Groups {
		return errors.New("read automaton: its tables have another size")
	}
	head.Table.Next = make([]uint16, head.Next)
	for i := range head.Table.Next {
		head.Table.Next[i] = binary.LittleEndian.Uint16(data[2*i:])
	}
	data = data[2*head.Next:]
	head.Sieve.Groups = make([]uint32, head.Groups)
	for i := range head.Sieve.Groups {
		head.Sieve.Groups[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	*a = Automaton{head.Signatures, head.Required, head.Table, head.Sieve}
	return nil
}

// IsOf reports whether the automaton is what Compile makes of these.
func (a *Automaton) IsOf(list []Signature, required []string) bool {
	return len(a.signatures) == len(list) && len(a.required) == len(required) &&
		(len(list) == 0 || reflect.DeepEqual(a.signatures, list)) &&
		(len(required) == 0 || reflect.DeepEqual(a.required, required))
}
