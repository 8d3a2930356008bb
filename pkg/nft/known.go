package nft

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Known is what the kernel holds, written down after a commit. Every change of
// any nftables object, by anyone, raises the generation; the boot id and the
// cookie of the network namespace say whose generation it is.
type Known struct {
	Boot      string         `json:"boot"`
	Namespace uint64         `json:"namespace"`
	GenID     uint64         `json:"generation"`
	State     *ruleset.State `json:"table,omitempty"`
	// Short is written in place of a State with large sets, which are what a base has but
	// for what differs.
	Short  *ruleset.State                `json:"short,omitempty"`
	Base   string                        `json:"base,omitempty"`
	Differ map[string]ruleset.Difference `json:"differ,omitempty"`
}

// shortened is what is written of it.
func (k *Known) shortened() *Known {
	base := k.State.Base
	if base == nil {
		return k
	}
	short := *k
	short.State, short.Base = nil, base.Key
	short.Short, short.Differ = base.Shorten(k.State)
	return &short
}

// lengthen is the opposite. What belongs to another base is not known any more.
func (k *Known) lengthen(base *ruleset.Base) {
	if k.Short == nil {
		return
	}
	if base != nil && base.Key == k.Base && base.Restore(k.Short, k.Differ) {
		k.State, k.Short.Base = k.Short, base
	}
	k.Short, k.Base, k.Differ = nil, "", nil
}

// Here returns a Known for the running kernel and the calling thread's network
// namespace. It fails where the kernel has no cookie for namespaces (before
// 5.14); then nothing may be taken as known.
func Here(id uint64, state *ruleset.State) (*Known, error) {
	boot, cookie, err := identity()
	if err != nil {
		return nil, err
	}
	return &Known{Boot: boot, Namespace: cookie, GenID: id, State: state}, nil
}

// Holds reports whether k is what the kernel holds while it is at the given
// generation.
func (k *Known) Holds(id uint64) bool {
	if k == nil || k.State == nil || k.GenID != id {
		return false
	}
	boot, cookie, err := identity()
	return err == nil && boot == k.Boot && cookie == k.Namespace
}

func identity() (boot string, namespace uint64, err error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0, fmt.Errorf("read boot id: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", 0, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	namespace, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return "", 0, fmt.Errorf("read network namespace cookie: %w", err)
	}
	return string(bytes.TrimSpace(id)), namespace, nil
}

// Counters returns the packets that each named counter has seen since the table
// was made; none without a table.
func (k *Kernel) Counters(ctx context.Context) (map[string]uint64, error) {
	r, err := newReader()
	if err != nil {
		return nil, err
	}
	defer r.close()
	counters := map[string]uint64{}
	err = steadily(func() error {
		clear(counters)
		return r.dump(ctx, unix.NFT_MSG_GETOBJ, func(b []byte) {
			name := attribute(b, unix.NFTA_OBJ_NAME)
			data := attribute(b, unix.NFTA_OBJ_DATA)
			packets := attribute(data, unix.NFTA_COUNTER_PACKETS)
			kind := attribute(b, unix.NFTA_OBJ_TYPE)
			if number(kind) == unix.NFT_OBJECT_COUNTER {
				counters[text(name)] = number(packets)
			}
		}, ofTable())
	})
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	return counters, nil
}
