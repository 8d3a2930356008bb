package events

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/journal"
)

const (
	fileMode = 0o640
	// format is what the file is written in.
	format = 1
	// longestFile is more than any file of this version has.
	longestFile = 4 << 30
)

// The buckets of the file, and a key.
var (
	metaBucket   = []byte("meta")
	eventsBucket = []byte("events") // one bucket for each hour, with a record for each key
	countsBucket = []byte("counts") // one bucket for each hour, with a number for each counter
	formatKey    = []byte("format")
)

// ErrBusy says that another process uses the file for longer than one can wait.
var ErrBusy = errors.New("the file of events is in use by another process")

// file is the open database.
type file struct {
	path string
	db   *bbolt.DB
	os   *os.File
}

// open opens the file. The error is fs.ErrNotExist for one that is not there, or that has
// nothing in it yet and is opened only to be read; ErrBusy, *journal.Damaged or
// *journal.Newer.
func open(path string, readOnly bool, wait time.Duration) (*file, error) {
	f := &file{path: path}
	options := bbolt.Options{
		Timeout: wait, ReadOnly: readOnly, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(path string, flags int, mode fs.FileMode) (_ *os.File, err error) {
			f.os, err = openRegular(path, flags, mode)
			return f.os, err
		},
	}
	err := f.guard(func() (err error) {
		f.db, err = bbolt.Open(path, fileMode, &options)
		return err
	})
	if err != nil {
		f.close()
		return nil, f.explain(err)
	}
	return f, nil
}

// openRegular opens what ringfence can have written: a regular file of a size that makes
// sense. It reports what is not there.
func openRegular(path string, flags int, mode fs.FileMode) (*os.File, error) {
	file, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
	if errors.Is(err, unix.ELOOP) {
		return nil, &journal.Damaged{Path: path, Err: errors.New("it is a symbolic link")}
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = &journal.Damaged{Path: path, Err: errors.New("it is no regular file")}
	case info.Size() > longestFile:
		err = &journal.Damaged{Path: path, Err: fmt.Errorf("it has %d bytes, and no file of events has more than %d", info.Size(), int64(longestFile))}
	case info.Size() == 0 && flags&os.O_RDWR == 0:
		err = fs.ErrNotExist // it is being made
	case info.Size() == 0:
		err = file.Chmod(mode) // whatever the umask
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// explain says what an error of bbolt means for the file.
func (f *file) explain(err error) error {
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return ErrBusy
	case errors.Is(err, bbolterrors.ErrVersionMismatch):
		return &journal.Newer{Path: f.path}
	case errors.Is(err, bbolterrors.ErrInvalid), errors.Is(err, bbolterrors.ErrChecksum), errors.Is(err, errContent):
		return &journal.Damaged{Path: f.path, Err: err}
	}
	return err
}

// guard does what reads the file. bbolt believes what is in it: where that is damaged, it
// panics or reads beyond its memory. Then the database must not be used any more, not even
// to close it.
func (f *file) guard(work func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		if reason := recover(); reason != nil {
			f.db = nil
			err = &journal.Damaged{Path: f.path, Err: errContent}
		}
	}()
	return work()
}

// close closes the file, which releases its lock.
func (f *file) close() error {
	var err error
	if f.db != nil {
		db := f.db
		err = f.guard(db.Close)
		f.db = nil
	}
	if f.os != nil {
		f.os.Close() // no error if it was closed
	}
	return err
}

// checkFormat says whether the file is of this version. A new file has no format yet.
func checkFormat(tx *bbolt.Tx, path string) (fresh bool, err error) {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		if first, _ := tx.Cursor().First(); first != nil {
			return false, errContent
		}
		return true, nil
	}
	v := parser{rest: string(meta.Get(formatKey))}
	n := v.number()
	switch {
	case v.bad || v.rest != "" || n == 0:
		return false, errContent
	case n > format:
		return false, &journal.Newer{Path: path}
	}
	return false, nil
}
