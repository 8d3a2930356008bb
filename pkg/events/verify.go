package events

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/bits"
	"os"

	bbolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// What bbolt writes (its package internal/common), in the order of bytes of the machine.
const (
	magic         = 0xED0CDAED
	layout        = 2
	headerSize    = 16 // of a page: id, flags, count, overflow
	elementSize   = 16 // of a leaf: flags, position, lengths of key and value; of a branch: position, length of the key, page
	bucketSize    = 16 // page of the root, sequence
	metaSize      = 64
	branchPage    = 1
	leafPage      = 2
	freelistPage  = 16
	bucketElement = 1
	deepest       = 3 // buckets in buckets
)

var native = binary.NativeEndian

// verify looks at every page that bbolt would read, before it does. bbolt believes what
// pages say: of one that names itself as its child it never returns, and what a length
// says it allocates. No recover helps then.
//
// It is called in a guard: the file may become shorter meanwhile.
func verify(file *os.File, size int64) error {
	data, err := unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", file.Name(), err)
	}
	defer func() { _ = unix.Munmap(data) }()
	v := verifier{data: data}
	meta, err := v.meta()
	if err != nil {
		return err
	}
	v.pages = meta.pages
	if v.pages < 4 || v.pages > uint64(len(data))/v.pageSize {
		return errContent
	}
	v.seen = make([]bool, v.pages)
	v.seen[0], v.seen[1] = true, true
	if err := v.freelist(meta.freelist); err != nil {
		return err
	}
	return v.tree(meta.root, 0)
}

type verifier struct {
	data            []byte
	pageSize, pages uint64
	seen            []bool // by page
}

type meta struct{ pageSize, root, freelist, pages, transaction uint64 }

// meta finds the newer one of the two pages that begin the file. The second one is where
// the page size says, which only the pages themselves say.
func (v *verifier) meta() (best meta, err error) {
	err = bbolterrors.ErrInvalid
	read := func(at int) {
		if len(v.data) < at+headerSize+metaSize {
			return
		}
		m, metaErr := parseMeta(v.data[at+headerSize : at+headerSize+metaSize])
		switch {
		case metaErr == nil && (err != nil || m.transaction > best.transaction):
			best, err = m, nil
		case metaErr == bbolterrors.ErrVersionMismatch && err != nil: //nolint:errorlint // as parseMeta returns it
			err = metaErr
		}
	}
	read(0)
	if err == nil {
		read(int(best.pageSize))
	} else {
		for size := 1024; size <= 1<<24; size *= 2 { // as bbolt looks for it
			read(size)
		}
	}
	v.pageSize = best.pageSize
	return best, err
}

func parseMeta(b []byte) (meta, error) {
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	switch {
	case native.Uint32(b) != magic:
		return meta{}, bbolterrors.ErrInvalid
	case native.Uint32(b[4:]) != layout:
		return meta{}, bbolterrors.ErrVersionMismatch
	case native.Uint64(b[56:]) != sum.Sum64():
		return meta{}, bbolterrors.ErrChecksum
	}
	m := meta{uint64(native.Uint32(b[8:])), native.Uint64(b[16:]), native.Uint64(b[32:]), native.Uint64(b[40:]), native.Uint64(b[48:])}
	if m.pageSize < 1024 || m.pageSize > 1<<16 || bits.OnesCount64(m.pageSize) != 1 {
		return meta{}, bbolterrors.ErrInvalid
	}
	return m, nil
}

// page is a page with those that it goes on in. None is looked at twice.
func (v *verifier) page(id uint64) ([]byte, error) {
	if id >= v.pages {
		return nil, errContent
	}
	header := v.data[id*v.pageSize:]
	more := uint64(native.Uint32(header[12:]))
	if native.Uint64(header) != id || more >= v.pages-id {
		return nil, errContent
	}
	for i := id; i <= id+more; i++ {
		if v.seen[i] {
			return nil, errContent
		}
		v.seen[i] = true
	}
	return header[:(1+more)*v.pageSize], nil
}

// freelist checks the list of the pages that are free. It is the first one that is
// checked, so that a page that is in use and free is found.
func (v *verifier) freelist(id uint64) error {
	page, err := v.page(id)
	if err != nil {
		return err
	}
	count, ids := uint64(native.Uint16(page[10:])), page[headerSize:]
	if count == 0xffff {
		count, ids = native.Uint64(ids), ids[8:]
	}
	if native.Uint16(page[8:]) != freelistPage || count > uint64(len(ids))/8 {
		return errContent
	}
	for i := range count {
		free := native.Uint64(ids[8*i:])
		if free >= v.pages || v.seen[free] {
			return errContent
		}
		v.seen[free] = true
	}
	return nil
}

// tree checks a page of a bucket and all below it.
func (v *verifier) tree(id uint64, depth int) error {
	page, err := v.page(id)
	if err != nil {
		return err
	}
	return v.elements(page, depth)
}

// elements checks what a page has: a branch other pages, a leaf keys with values.
func (v *verifier) elements(page []byte, depth int) error {
	flags, count := native.Uint16(page[8:]), uint64(native.Uint16(page[10:]))
	body := page[headerSize:]
	if flags != branchPage && flags != leafPage || flags == branchPage && count == 0 || count*elementSize > uint64(len(body)) {
		return errContent
	}
	var last []byte
	for i := range count {
		element := body[i*elementSize:]
		position, key, value := uint64(native.Uint32(element[4:])), uint64(native.Uint32(element[8:])), uint64(native.Uint32(element[12:]))
		if flags == branchPage {
			position, key, value = uint64(native.Uint32(element)), uint64(native.Uint32(element[4:])), 0
		}
		if key == 0 || position+key+value > uint64(len(element)) || position < (count-i)*elementSize {
			return errContent
		}
		name := element[position : position+key]
		if i > 0 && bytes.Compare(last, name) >= 0 {
			return errContent
		}
		last = name
		var err error
		switch kind := native.Uint32(element); {
		case flags == branchPage:
			err = v.tree(native.Uint64(element[8:]), depth)
		case kind == bucketElement:
			err = v.bucket(element[position+key:position+key+value], depth+1)
		case kind != 0:
			err = errContent
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks a bucket. A small one is part of the value.
func (v *verifier) bucket(value []byte, depth int) error {
	if depth > deepest || len(value) < bucketSize {
		return errContent
	}
	root, inline := native.Uint64(value), value[bucketSize:]
	if root != 0 {
		return v.tree(root, depth)
	}
	if len(inline) < headerSize || native.Uint16(inline[8:]) != leafPage {
		return errContent
	}
	return v.elements(inline, deepest) // which has no buckets
}
