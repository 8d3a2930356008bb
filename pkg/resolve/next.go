package resolve

import (
	"encoding/binary"
	"hash/fnv"
	"time"
)

// The times between two lookups of a name of which something fails.
const (
	firstRetry  = 30 * time.Second
	longestWait = 15 * time.Minute
)

// nextLookup returns how long after this lookup the name should be asked for again: as long
// as its answers are valid, within the limits of the policy, or sooner if something
// failed, at first soon and then less and less often.
func nextLookup(o *observation, failures int, waiting bool) time.Duration {
	wait := o.settings.Max
	for _, s := range o.found {
		wait = min(wait, s.ttl)
	}
	wait = min(wait, o.soonest)
	wait = max(wait, o.settings.Min)
	if waiting {
		wait = o.settings.Min
	}
	if failures > 0 {
		retry := retryAfter(failures)
		if len(o.found) == 0 || retry < wait {
			return min(retry+jitter(o.known.Name, o.now, retry/10), longestWait)
		}
	}
	return wait + jitter(o.known.Name, o.now, wait/10)
}

// retryAfter is the time to the next try after some failures in a row.
func retryAfter(failures int) time.Duration {
	return min(firstRetry<<min(failures-1, 10), longestWait)
}

// jitter returns a time of at most most. It differs by name, lookup and host, so that
// not all ask at the same moment.
func jitter(name string, now Moment, most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	h.Write([]byte(now.Boot))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(now.Time.UnixNano())))
	return time.Duration(h.Sum64() % uint64(most))
}

// Due returns the time until the target should be asked for; 0 means now. After a boot
// all names are due.
func (m Memory) Due(t Target, now Moment) time.Duration {
	k := m.name(t)
	passed, measured := now.since(k.Looked)
	if !measured {
		return 0
	}
	return max(time.Duration(k.Next)-passed, 0)
}
