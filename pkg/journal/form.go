package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// formFile holds the newest generation once more, in a form that is read fast. It belongs
// to one program and to one generation, whose file is the one that counts: a form that does
// not fit, or is damaged, is as good as none.
const formFile = "newest.form"

// formMark is what the file begins with, before its checksum.
const formMark = "ringfence form 1\n"

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// KeepForm stores what a program has made of a generation. It is not synced: what a loss
// of power leaves does not match its checksum.
func (j Journal) KeepForm(e *Entry, program string, parts ...[]byte) error {
	head := *e
	head.Policy, head.State = "", nil
	text, err := json.Marshal(head)
	if err != nil {
		return fmt.Errorf("write form: %w", err)
	}
	var body []byte
	for _, part := range append([][]byte{[]byte(program), []byte(e.Sum), text, []byte(e.Policy)}, parts...) {
		body = append(binary.AppendUvarint(body, uint64(len(part))), part...)
	}
	file, err := os.CreateTemp(j.path(""), "."+formFile)
	if err != nil {
		return fmt.Errorf("write form: %w", err)
	}
	_, err = file.Write(append(binary.BigEndian.AppendUint32([]byte(formMark), checksum(body)), body...))
	err = errors.Join(err, file.Chmod(fileMode), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), j.path(formFile))
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return fmt.Errorf("write form: %w", err)
	}
	return nil
}

// Formed returns a generation, without its state, and in its field Form what this program
// has made of it. It returns nil if that is not stored, or not of this program and of this
// generation, or if either file is damaged: then Entry says what is wrong.
func (j Journal) Formed(number int, program string) *Entry {
	data, err := read(j.path(formFile))
	if err != nil {
		return nil
	}
	parts := cutForm(data)
	if len(parts) < 4 || string(parts[0]) != program {
		return nil
	}
	sum := sumOf(j.path(entryFile(number)))
	if sum == "" || sum != string(parts[1]) {
		return nil
	}
	var entry Entry
	if err := json.Unmarshal(parts[2], &entry); err != nil {
		return nil
	}
	entry.Number, entry.Sum, entry.Policy, entry.State, entry.Form = number, sum, string(parts[3]), nil, parts[4:]
	return &entry
}

// sumOf returns the checksum of a file, "" if its content does not match that, or if it is
// not exactly as seal writes it. The content may be large, and nothing of it is kept.
func sumOf(path string) string {
	file, size, err := open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	head := make([]byte, len(sealedBefore)+2*sha256.Size+len(sealedMiddle))
	if _, err := io.ReadFull(file, head); err != nil {
		return ""
	}
	content := sha256.New()
	if _, err := io.CopyN(content, file, size-int64(len(head))-int64(len(sealedAfter))); err != nil {
		return ""
	}
	rest, err := io.ReadAll(io.LimitReader(file, int64(len(sealedAfter))+1))
	sum := hex.EncodeToString(content.Sum(nil))
	if err != nil || string(rest) != sealedAfter || string(head) != sealedBefore+sum+sealedMiddle {
		return ""
	}
	return sum
}

// cutForm returns the parts of a form, nil if it is damaged.
func cutForm(data []byte) (parts [][]byte) {
	data, ok := bytes.CutPrefix(data, []byte(formMark))
	if !ok || len(data) < crc32.Size || binary.BigEndian.Uint32(data) != checksum(data[crc32.Size:]) {
		return nil
	}
	for data = data[crc32.Size:]; len(data) > 0; {
		n, size := binary.Uvarint(data)
		if size <= 0 || n > uint64(len(data)-size) {
			return nil
		}
		parts, data = append(parts, data[size:size+int(n)]), data[size+int(n):]
	}
	return parts
}

// FormFile is the file with the form of the newest generation.
func (j Journal) FormFile() string { return filepath.Join(j.Folder, "journal", formFile) }
