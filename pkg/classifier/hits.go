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
	ids, _ := info.MapIDs()
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
	found := map[string]uint64{}
	names := map[uint32]string{}
	var index uint32
	var name programName
	for all := signatures.Iterate(); ; {
		if !all.Next(&index, &name) {
			if err := all.Err(); err != nil {
				return nil, err
			}
			break
		}
		names[index] = string(bytes.TrimRight(name.Text[:], "\x00"))
	}
	var counts []uint64 // one for each processor
	all := hits.Iterate()
	for all.Next(&index, &counts) {
		for _, n := range counts {
			found[names[index]] += n
		}
	}
	// Without signatures the maps have one entry without a name.
	maps.DeleteFunc(found, func(name string, _ uint64) bool { return name == "" })
	return found, all.Err()
}
