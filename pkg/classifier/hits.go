package classifier

import (
	"bytes"
	"errors"
	"fmt"
	"maps"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Hits returns how many packets each signature has matched on all interfaces since its
// program was attached, by the names of the signatures, including those without a
// match. Its error wraps ErrPermission for any user but root: opening another process's
// program needs CAP_SYS_ADMIN.
func Hits() (map[string]uint64, error) {
	list, err := List()
	if err != nil {
		return nil, err
	}
	total := map[string]uint64{}
	seen := map[uint32]bool{}
	for _, a := range list {
		if seen[a.ID] {
			continue // one program can be attached to many interfaces
		}
		seen[a.ID] = true
		hits, err := hitsOf(a.ID)
		if errors.Is(err, unix.ENOENT) {
			continue // it was replaced after it was listed
		}
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("read hits: %w: only root, or a process with CAP_SYS_ADMIN, sees them (%w)", ErrPermission, err)
		}
		if err != nil {
			return nil, fmt.Errorf("read hits: %w", err)
		}
		for name, n := range hits {
			total[name] += n
		}
	}
	return total, nil
}

func hitsOf(id uint32) (map[string]uint64, error) {
	program, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return nil, err
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return nil, err
	}
	ids, known := info.MapIDs()
	if !known {
		return nil, errors.New("the kernel does not say which maps the classifier has (before Linux 4.15)")
	}
	var hits, signatures *ebpf.Map
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return nil, err
		}
		defer m.Close()
		info, err := m.Info()
		if err != nil {
			return nil, err
		}
		switch info.Name {
		case programMapHits:
			hits = m
		case programMapSignatures:
			signatures = m
		}
	}
	if hits == nil || signatures == nil {
		return nil, errors.New("the classifier has no counters: it was loaded by another version of ringfence")
	}
	return read(hits, signatures)
}

func read(hits, signatures *ebpf.Map) (map[string]uint64, error) {
	names := map[uint32]string{}
	err := each(signatures, 1, func(index uint32, name []programName) {
		names[index] = string(bytes.TrimRight(name[0].Text[:], "\x00"))
	})
	if err != nil {
		return nil, err
	}
	processors, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count processors: %w", err)
	}
	found := map[string]uint64{}
	err = each(hits, processors, func(index uint32, counts []uint64) {
		for _, n := range counts {
			found[names[index]] += n
		}
	})
	// Without signatures the maps have one entry without a name.
	maps.DeleteFunc(found, func(name string, _ uint64) bool { return name == "" })
	return found, err
}

// each calls f for each entry of an array with so many values at each index. It asks the
// kernel once, where that can list an array (Linux 5.6, and 5.13 with a value for each
// processor), and else for one entry after the other.
func each[V any](m *ebpf.Map, values int, f func(index uint32, values []V)) error {
	indexes, all := make([]uint32, m.MaxEntries()), make([]V, int(m.MaxEntries())*values)
	var cursor ebpf.MapBatchCursor
	n, err := m.BatchLookup(&cursor, indexes, all, nil)
	if n == len(indexes) && (err == nil || errors.Is(err, ebpf.ErrKeyNotExist)) {
		for i, index := range indexes {
			f(index, all[i*values:(i+1)*values])
		}
		return nil
	}
	for index := range m.MaxEntries() {
		some := make([]V, values)
		if values > 1 || m.Type() == ebpf.PerCPUArray {
			err = m.Lookup(index, &some)
		} else {
			err = m.Lookup(index, &some[0])
		}
		if err != nil {
			return err
		}
		f(index, some)
	}
	return nil
}
