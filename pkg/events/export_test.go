package events

import (
	"encoding/binary"

	"go.etcd.io/bbolt"
)

// SetFormat writes another format into a file.
func SetFormat(path string, format uint64) error {
	db, err := bbolt.Open(path, fileMode, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put(formatKey, binary.AppendUvarint(nil, format))
	})
}

// Held is how many records and values of counters wait to be written.
func (r *Recorder) Held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.tally.records) + len(r.tally.counts)
}
