package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ringfence/ringfence/pkg/journal"
)

// The limits of the file.
const (
	mostOfHour  = 4096
	mostOfOld   = 256 // of an hour that was thinned out
	mostOfFile  = 256 << 20
	mostAtOnce  = 64 // hours to thin out by one write
	waitToWrite = 2 * time.Second
)

// Store writes events into a file.
type Store struct {
	Path string
	// Keep is for how long events are kept; with 0, what is there is removed.
	Keep time.Duration
	// Limit is about how many bytes the file may have; 0 is 256 MiB.
	Limit int64

	closed mark // as the last write has left the file
}

// Write adds what was counted, and removes what is too old. A file that is damaged is set
// aside, and a new one begun: aside says so. ErrBusy says that the file is being read for
// so long that it should be tried again later.
func (s *Store) Write(t *Tally, now time.Time) (aside *journal.Damaged, err error) {
	err = s.write(t, now)
	damaged, ok := errors.AsType[*journal.Damaged](err)
	if !ok {
		return nil, describe(err)
	}
	if err := journal.SetAside(damaged); damaged.SetAside == "" {
		return nil, err
	}
	return damaged, describe(s.write(t, now))
}

func describe(err error) error {
	if err == nil || errors.Is(err, ErrBusy) {
		return err
	}
	return fmt.Errorf("write events: %w", err)
}

func (s *Store) write(t *Tally, now time.Time) error {
	f, err := open(s.Path, false, waitToWrite, s.closed)
	if err != nil {
		return err
	}
	err = f.update(func(tx *bbolt.Tx) error {
		if err := begin(tx, s.Path); err != nil {
			return err
		}
		before := now.Add(-s.Keep)
		if s.Keep == 0 {
			before = hourOf(now).Add(time.Hour)
		}
		if err := prune(tx, before); err != nil {
			return err
		}
		return put(tx, t)
	})
	for range mostAtOnce {
		if err != nil || f.used() <= s.limit() {
			break
		}
		err = f.update(func(tx *bbolt.Tx) error { return thin(tx, now) })
	}
	s.closed = mark{}
	if err := errors.Join(err, f.close()); err != nil {
		return err
	}
	if info, err := os.Lstat(s.Path); err == nil {
		s.closed = markOf(info)
	}
	return nil
}

func (s *Store) limit() int64 {
	if s.Limit > 0 {
		return s.Limit
	}
	return mostOfFile
}

// update changes the file, as a whole or not at all.
func (f *file) update(change func(*bbolt.Tx) error) error {
	return f.explain(f.guard(func() error { return f.db.Update(change) }))
}

// used is how many bytes of the file are in use. The file never becomes smaller, but what
// is free is used again.
func (f *file) used() int64 {
	size := int64(0)
	err := f.guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error { size = tx.Size(); return nil })
	})
	if err != nil {
		return 0
	}
	stats := f.db.Stats()
	return size - int64(stats.FreePageN+stats.PendingPageN)*int64(f.db.Info().PageSize)
}

// begin makes the buckets.
func begin(tx *bbolt.Tx, path string) error {
	fresh, err := checkFormat(tx, path)
	if err != nil || !fresh {
		return err
	}
	for _, name := range [][]byte{metaBucket, eventsBucket, countsBucket} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return tx.Bucket(metaBucket).Put(formatKey, binary.AppendUvarint(nil, format))
}

// both returns the buckets that have one for each hour.
func both(tx *bbolt.Tx) ([]*bbolt.Bucket, error) {
	buckets := []*bbolt.Bucket{tx.Bucket(eventsBucket), tx.Bucket(countsBucket)}
	if slices.Contains(buckets, nil) {
		return nil, errContent
	}
	return buckets, nil
}

// prune removes the hours that ended before a time. What is of a later time than now stays:
// the clock may be wrong.
func prune(tx *bbolt.Tx, before time.Time) error {
	buckets, err := both(tx)
	if err != nil {
		return err
	}
	for _, b := range buckets {
		for {
			key, _ := b.Cursor().First()
			if key == nil {
				break
			}
			hour, err := parseHour(key)
			if err != nil {
				return err
			}
			if hour.Add(time.Hour).After(before) {
				break
			}
			if err := b.DeleteBucket(key); err != nil {
				return err
			}
		}
	}
	return nil
}

// put adds what was counted.
func put(tx *bbolt.Tx, t *Tally) error {
	buckets, err := both(tx)
	if err != nil {
		return err
	}
	for hour, records := range t.hours() {
		b, err := bucketOf(buckets[0], hour)
		if err != nil {
			return err
		}
		n, err := putRecords(b, hour, records)
		if err == nil && n > mostOfHour {
			// Some room is left, so that this is not done again by each write.
			err = foldHour(buckets[0], hour, mostOfHour*3/4)
		}
		if err != nil {
			return err
		}
	}
	for _, c := range t.counted() {
		b, err := buckets[1].CreateBucketIfNotExists(hourKey(c.Hour))
		if err != nil {
			return err
		}
		if old := b.Get([]byte(c.Name)); old != nil {
			known, err := parseCount(c.Hour, []byte(c.Name), old)
			if err != nil {
				return err
			}
			c.Packets += known.Packets
		}
		if err := b.Put([]byte(c.Name), binary.AppendUvarint(nil, c.Packets)); err != nil {
			return err
		}
	}
	return nil
}

// bucketOf returns the bucket of an hour. When it makes one, the hour before it has ended:
// that is written again, because records that have come in no order fill half of their
// pages.
func bucketOf(events *bbolt.Bucket, hour time.Time) (*bbolt.Bucket, error) {
	key := hourKey(hour)
	if b := events.Bucket(key); b != nil {
		return b, nil
	}
	last, _ := events.Cursor().Last()
	if last != nil && bytes.Compare(last, key) < 0 {
		ended, err := parseHour(last)
		if err == nil {
			err = foldHour(events, ended, mostOfHour)
		}
		if err != nil {
			return nil, err
		}
	}
	return events.CreateBucket(key)
}

// putRecords adds records to the bucket of their hour, whose sequence is the number of
// records in it.
func putRecords(b *bbolt.Bucket, hour time.Time, records []Record) (uint64, error) {
	n := b.Sequence()
	for _, r := range records {
		key := r.key()
		if old := b.Get(key); old != nil {
			known, err := parseRecord(hour, key, old)
			if err != nil {
				return n, err
			}
			r = r.plus(known)
		} else {
			n++
		}
		if err := b.Put(key, r.value()); err != nil {
			return n, err
		}
	}
	return n, b.SetSequence(n)
}

// recordsOf reads the bucket of an hour.
func recordsOf(b *bbolt.Bucket, hour time.Time) ([]Record, error) {
	var records []Record
	err := b.ForEach(func(key, value []byte) error {
		r, err := parseRecord(hour, key, value)
		records = append(records, r)
		return err
	})
	return records, err
}

// foldHour leaves about so many records of an hour.
func foldHour(events *bbolt.Bucket, hour time.Time, most int) error {
	b := events.Bucket(hourKey(hour))
	if b == nil {
		return errContent
	}
	records, err := recordsOf(b, hour)
	if err != nil {
		return err
	}
	if err := events.DeleteBucket(hourKey(hour)); err != nil {
		return err
	}
	if b, err = events.CreateBucket(hourKey(hour)); err != nil {
		return err
	}
	records = fold(records, most)
	slices.SortFunc(records, func(a, b Record) int { return slices.Compare(a.key(), b.key()) })
	b.FillPercent = 0.9 // they come in order
	_, err = putRecords(b, hour, records)
	return err
}

// thin makes the file use less. Of the hours that are furthest from now it leaves a few
// records, and where that was done already, it removes the furthest one.
func thin(tx *bbolt.Tx, now time.Time) error {
	buckets, err := both(tx)
	if err != nil {
		return err
	}
	var furthest, full time.Time // full is the furthest that has many
	away := func(t time.Time) time.Duration { return now.Sub(t).Abs() }
	events := buckets[0]
	err = events.ForEachBucket(func(key []byte) error {
		hour, err := parseHour(key)
		if err != nil {
			return err
		}
		if furthest.IsZero() || away(hour) > away(furthest) {
			furthest = hour
		}
		const slack = 32 // one record for each reason
		if events.Bucket(key).Sequence() > mostOfOld+slack && (full.IsZero() || away(hour) > away(full)) {
			full = hour
		}
		return nil
	})
	switch {
	case err != nil || furthest.IsZero():
		return err
	case !full.IsZero() && full.Before(hourOf(now)):
		return foldHour(events, full, mostOfOld)
	}
	return events.DeleteBucket(hourKey(furthest))
}
