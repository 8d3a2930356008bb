package events

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"go.etcd.io/bbolt"
)

// waitToRead is more than a write takes.
const waitToRead = 3 * time.Second

// Read hands the records of a time to take, ordered by their hours, until that fails. A
// zero until is no limit. A file that is not there has no records. The error is that of
// take, ErrBusy, *journal.Damaged or *journal.Newer, or another trouble with reading.
func Read(path string, since, until time.Time, take func(Record) error) error {
	return read(path, eventsBucket, since, until, recordsOf, func(records []Record) error {
		for _, r := range records {
			if r.Last.Before(since) || !until.IsZero() && r.First.After(until) {
				continue
			}
			if err := take(r); err != nil {
				return err
			}
		}
		return nil
	})
}

// ReadSource hands the records of a source since a time to take, as Read does. It reads
// nothing of the others.
func ReadSource(path string, source netip.Addr, since time.Time, take func(Record) error) error {
	first := appendText(nil, string(source.AsSlice()))
	return read(path, eventsBucket, since, time.Time{}, func(b *bbolt.Bucket, hour time.Time) ([]Record, error) {
		var records []Record
		c := b.Cursor()
		for key, value := c.Seek(first); bytes.HasPrefix(key, first); key, value = c.Next() {
			r, err := parseRecord(hour, key, value)
			if err != nil {
				return nil, err
			}
			records = append(records, r)
		}
		return records, nil
	}, func(records []Record) error {
		for _, r := range records {
			if r.Last.Before(since) {
				continue
			}
			if err := take(r); err != nil {
				return err
			}
		}
		return nil
	})
}

// Counts returns by how much counters have grown in the hours that a time touches, ordered
// by hours and names.
func Counts(path string, since, until time.Time) ([]Count, error) {
	var counts []Count
	err := read(path, countsBucket, since, until, countsOf, func(list []Count) error {
		counts = append(counts, list...)
		return nil
	})
	return counts, err
}

func countsOf(b *bbolt.Bucket, hour time.Time) ([]Count, error) {
	var counts []Count
	err := b.ForEach(func(key, value []byte) error {
		c, err := parseCount(hour, key, value)
		counts = append(counts, c)
		return err
	})
	return counts, err
}

// read hands what the bucket of each hour has to take. Where take panics, that is no
// damage of the file.
func read[T any](path string, bucket []byte, since, until time.Time, of func(*bbolt.Bucket, time.Time) ([]T, error), take func([]T) error) error {
	f, err := open(path, true, waitToRead, mark{})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer func() { _ = f.close() }() // nothing was written
	hours, err := f.hours(bucket, since, until)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	for _, hour := range hours {
		var list []T
		err := f.view(func(tx *bbolt.Tx) (err error) {
			b := tx.Bucket(bucket).Bucket(hourKey(hour))
			if b == nil {
				return errContent
			}
			list, err = of(b, hour)
			return err
		})
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		if err := take(list); err != nil {
			return err
		}
	}
	return nil
}

func (f *file) view(look func(*bbolt.Tx) error) error {
	return f.explain(f.guard(func() error { return f.db.View(look) }))
}

// hours are those that a time touches.
func (f *file) hours(bucket []byte, since, until time.Time) ([]time.Time, error) {
	var hours []time.Time
	err := f.view(func(tx *bbolt.Tx) error {
		fresh, err := checkFormat(tx, f.path)
		if err != nil || fresh {
			return err
		}
		b := tx.Bucket(bucket)
		if b == nil {
			return errContent
		}
		c := b.Cursor()
		for key, _ := c.Seek(hourKey(hourOf(since))); key != nil; key, _ = c.Next() {
			hour, err := parseHour(key)
			if err != nil {
				return err
			}
			if !until.IsZero() && hour.After(until) {
				break
			}
			hours = append(hours, hour)
		}
		return nil
	})
	return hours, err
}
