package events

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"syscall"
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
	longestFile = 1 << 30
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
	made bool // there was nothing in it
}

// mark says which file it is, and when it was written last.
type mark struct {
	device, inode uint64
	size          int64
	written       time.Time
}

func markOf(info fs.FileInfo) mark {
	m := mark{size: info.Size(), written: info.ModTime()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		m.device, m.inode = uint64(s.Dev), s.Ino //nolint:unconvert // Dev has 32 bits on some architectures
	}
	return m
}

// open opens the file. It is not verified again if it is as it was when it was closed last.
// The error is fs.ErrNotExist for one that is not there, or that has
// nothing in it yet and is opened only to be read; ErrBusy, *journal.Damaged or
// *journal.Newer.
func open(path string, readOnly bool, wait time.Duration, closed mark) (*file, error) {
	f := &file{path: path}
	options := bbolt.Options{
		Timeout: time.Nanosecond, ReadOnly: readOnly, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(path string, flags int, mode fs.FileMode) (*os.File, error) {
			file, err := openRegular(path, flags, mode)
			if err == nil {
				f.os, err = file, lock(file, readOnly, wait)
			}
			if err == nil {
				f.made, err = check(file, readOnly, closed)
			}
			return file, err
		},
	}
	err := f.guard(func() (err error) {
		f.db, err = bbolt.Open(path, fileMode, &options)
		return err
	})
	if err != nil {
		if f.made {
			// Where the disk is full, a part of the first pages would be a damaged file.
			err = errors.Join(err, os.Truncate(path, 0))
		}
		_ = f.close()
		return nil, f.explain(err)
	}
	return f, nil
}

// openRegular opens a regular file, and nothing else.
func openRegular(path string, flags int, mode fs.FileMode) (*os.File, error) {
	file, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
	if errors.Is(err, unix.ELOOP) {
		return nil, &journal.Damaged{Path: path, Err: errors.New("it is a symbolic link")}
	}
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENXIO) {
		return nil, &journal.Damaged{Path: path, Err: errors.New("it is no regular file")}
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &journal.Damaged{Path: path, Err: errors.New("it is no regular file")}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// lock takes the lock that bbolt takes after it: what is verified must not change.
func lock(file *os.File, shared bool, wait time.Duration) error {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	for end := time.Now().Add(wait); ; {
		err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("lock %s: %w", file.Name(), err)
		case time.Now().After(end):
			return ErrBusy
		}
		time.Sleep(20 * time.Millisecond) // flock has no way to wait for a limited time
	}
}

// check verifies the content of a file. One that is empty is being made.
func check(file *os.File, readOnly bool, closed mark) (empty bool, err error) {
	info, err := file.Stat()
	switch {
	case err != nil:
		return false, err
	case info.Size() == 0 && readOnly:
		return false, fs.ErrNotExist
	case info.Size() == 0:
		return true, file.Chmod(fileMode) // whatever the umask
	case info.Size() > longestFile:
		return false, &journal.Damaged{Path: file.Name(), Err: fmt.Errorf("it has %d bytes, and no file of events has more than %d", info.Size(), longestFile)}
	case markOf(info) == closed:
		return false, nil
	}
	return false, verify(file, info.Size())
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
		_ = f.os.Close() // bbolt has closed it already, unless something has failed
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
