package journal

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// The permissions of state files and folders. A policy reveals who a site's provider
// is, so others may not read it.
const (
	folderMode = 0o750
	fileMode   = 0o640
)

// Damaged is the error for a state file whose content is not what was written.
type Damaged struct {
	Path string
	// SetAside is where the file was moved to, "" if it was not moved.
	SetAside string
	Err      error
}

func (d *Damaged) Error() string {
	if d.SetAside != "" {
		return fmt.Sprintf("%s is damaged and was set aside as %s (%s)", d.Path, filepath.Base(d.SetAside), d.why())
	}
	return fmt.Sprintf("%s is damaged (%s)", d.Path, d.why())
}

// why says what is wrong without the words of Go.
func (d *Damaged) why() string {
	if syntax, ok := errors.AsType[*json.SyntaxError](d.Err); ok {
		if syntax.Error() == "unexpected end of JSON input" {
			return "it ends too early"
		}
		return fmt.Sprintf("it is not JSON: byte %d is wrong", syntax.Offset)
	}
	if other, ok := errors.AsType[*json.UnmarshalTypeError](d.Err); ok {
		article := "a"
		if other.Value == "array" || other.Value == "object" {
			article = "an"
		}
		return fmt.Sprintf("%s is %s %s at byte %d", cmp.Or(other.Field, "its content"), article, other.Value, other.Offset)
	}
	return d.Err.Error()
}

func (d *Damaged) Unwrap() error { return d.Err }

// Newer is a state file that a newer ringfence has written. Nothing is wrong with it.
type Newer struct{ Path string }

func (n *Newer) Error() string {
	return n.Path + " was written by ringfence of a newer version: use that one"
}

// maxFile is more than any state file of this version has.
const maxFile = 256 << 20

// read reads a state file whole. What ringfence cannot have written is damaged: a file
// that is too large, and a link, a pipe or a device in its place, which are not opened to
// the end.
func read(path string) ([]byte, error) {
	file, size, err := open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data := make([]byte, 0, size+bytes.MinRead) // read without growing
	b := bytes.NewBuffer(data)
	_, err = b.ReadFrom(io.LimitReader(file, maxFile))
	return b.Bytes(), err
}

// open opens a state file, unless ringfence cannot have written it.
func open(path string) (file *os.File, size int64, err error) {
	file, err = os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, 0, &Damaged{Path: path, Err: errors.New("it is a symbolic link")}
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular() && !info.IsDir(): // which the system itself refuses to read
		err = &Damaged{Path: path, Err: errors.New("it is no regular file")}
	case info.Size() > maxFile:
		err = &Damaged{Path: path, Err: fmt.Errorf("it has %d bytes, and no state file has more than %d", info.Size(), maxFile)}
	default:
		return file, info.Size(), nil
	}
	_ = file.Close()
	return nil, 0, err
}

// makeFolder makes a folder with the right permissions, whatever the umask; one
// that is there stays as it is.
func makeFolder(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, folderMode); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.Chmod(path, folderMode); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}

// ownFolder refuses a folder where anybody may replace what is in it. One that is not there
// will be made right.
func ownFolder(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("everybody may write to folder %s: run chmod o-w %[1]s", path)
	}
	return ifThere(err)
}

// Check refuses folders where anybody may replace what is in them.
func Check(j Journal) error { return errors.Join(ownFolder(j.Folder), ownFolder(j.path(""))) }

// write replaces a file as a whole, so that it stays replaced when the power is lost
// afterwards.
func write(path string, data []byte) error {
	if err := replace(path, data); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// replace replaces a file as a whole. It writes and syncs a temporary file beside it, and
// renames that: after a loss of power there is either the old file or the new one. Which of
// them is open until the folder is synced.
func replace(path string, data []byte) error {
	folder := filepath.Dir(path)
	for _, f := range []string{filepath.Dir(folder), folder} {
		if err := makeFolder(f); err != nil {
			return err
		}
	}
	err := renameio.WriteFile(path, append(data, '\n'), fileMode,
		renameio.WithTempDir(folder), renameio.IgnoreUmask(), renameio.WithStaticPermissions(fileMode))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", path, err)
	}
	return nil
}

// sealed is a value with a checksum of its bytes, as it is stored in a file.
type sealed struct {
	// Format is what the content is written in, 0 is the first one.
	Format  int             `json:"format,omitempty"`
	SHA256  string          `json:"sha256"`
	Content json.RawMessage `json:"content"`
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// seal writes a value so that any later change of the file is noticed.
func seal(path string, value any) error {
	_, err := sealSum(path, value)
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// sealSum is seal, returns the checksum, and does not sync the folder.
func sealSum(path string, value any) (sum string, err error) {
	content, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	// As parseSealed expects it. To marshal the content once more would read all of it twice.
	sum = hash(content)
	data := make([]byte, 0, len(sealedBefore)+len(sum)+len(sealedMiddle)+len(content)+len(sealedAfter))
	data = append(append(append(data, sealedBefore...), sum...), sealedMiddle...)
	return sum, replace(path, append(append(data, content...), '}'))
}

// What is before and behind the hash in a sealed file.
const (
	sealedBefore = `{"sha256":"`
	sealedMiddle = `","content":`
	sealedAfter  = "}\n"
)

// parseSealed divides a file into its hash and its content. A file as seal writes it is
// only cut: to parse it would read all of a large one twice more.
func parseSealed(data []byte) (s sealed, err error) {
	const digits = 2 * sha256.Size
	if rest, ok := bytes.CutPrefix(data, []byte(sealedBefore)); ok && len(rest) > digits {
		content, ok := bytes.CutPrefix(rest[digits:], []byte(sealedMiddle))
		if content, whole := bytes.CutSuffix(bytes.TrimSpace(content), []byte("}")); ok && whole {
			return sealed{SHA256: string(rest[:digits]), Content: content}, nil
		}
	}
	return s, json.Unmarshal(data, &s)
}

// unseal reads what seal wrote into value, which is not touched if there is any
// error. The error is fs.ErrNotExist, *Damaged, *Newer, or another trouble with
// reading.
func unseal[T any](path string, value *T) error {
	_, err := unsealSum(path, value)
	return err
}

// unsealSum is unseal, and returns the checksum.
func unsealSum[T any](path string, value *T) (sum string, err error) {
	data, err := read(path)
	if _, damaged := errors.AsType[*Damaged](err); damaged {
		return "", err
	}
	if err != nil {
		return "", fmt.Errorf("read state: %w", err)
	}
	s, err := parseSealed(data)
	if err != nil {
		return "", &Damaged{Path: path, Err: err}
	}
	if s.Format > 0 {
		return "", &Newer{path}
	}
	if hash(s.Content) != s.SHA256 {
		return "", &Damaged{Path: path, Err: errors.New("its content does not match its checksum")}
	}
	var v T
	if err := json.Unmarshal(s.Content, &v); err != nil {
		return "", &Damaged{Path: path, Err: err}
	}
	*value = v
	return s.SHA256, nil
}

// ifThere ignores the error that a file does not exist.
func ifThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // checked here because removing it from a read-only folder would return another error
	}
	if err := ifThere(os.Remove(path)); err != nil {
		return fmt.Errorf("remove state: %w", err)
	}
	return nil
}

// SetAside renames a damaged file, so that what may still be of use in it is not
// overwritten, and records the new name. It returns the damage, which has the new name now.
func SetAside(damaged *Damaged) error {
	aside := fmt.Sprintf("%s.damaged-%s", damaged.Path, time.Now().UTC().Format("20060102T150405.000000000Z"))
	if err := os.Rename(damaged.Path, aside); err != nil {
		return errors.Join(damaged, fmt.Errorf("set it aside: %w", err))
	}
	damaged.SetAside = aside
	return damaged
}

// leftover reports whether this is the name of a temporary file that was not renamed.
func leftover(name string) bool {
	of := strings.TrimRight(name, "0123456789")
	of, hidden := strings.CutPrefix(of, ".")
	return hidden && len(of) < len(name)-1 && (slices.Contains(written, of) || isNumbered(of, ".json"))
}

// written are the files that are replaced as a whole, without those that have a number.
var written = []string{
	"addresses.json", "next.json", string(KernelFile), string(HostFile), string(NoticesFile), string(CountsFile), string(AllowedFile),
	string(PhonesFile), string(MovesFile), "down.json", "unconfirmed.json", formFile,
}

// Sweep removes temporary files of runs that were killed. The caller holds the lock.
// Files that cannot be removed do no harm, so errors are ignored.
func Sweep(j Journal) {
	for _, folder := range []string{j.Folder, j.path("")} {
		files, _ := os.ReadDir(folder)
		for _, f := range files {
			if leftover(f.Name()) && f.Type().IsRegular() {
				_ = os.Remove(filepath.Join(folder, f.Name()))
			}
		}
	}
}
