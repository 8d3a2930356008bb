package fence

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/journal"
)

// Remembering returns a world that notes in a folder that a program can be attached: to try
// takes as long as half of a short command. The folder is empty after a boot.
func (w World) Remembering(folder string) World {
	w.Classifier = &able{Classifier: w.Classifier, folder: folder}
	return w
}

// able is a classifier of which it is known that it can be attached, if a note says so.
type able struct {
	backend.Classifier
	folder string
	found  string // what is to be noted
}

func (a *able) path() string { return filepath.Join(a.folder, "classifier") }

// Probe is that of a classifier. Only that nothing keeps a program from being attached is
// noted: who has corrected what does should not have to wait for a boot.
func (a *able) Probe() error {
	here := rightsHere()
	if here != "" && journal.ReadNote(a.path()) == here {
		return nil
	}
	err := a.Classifier.Probe()
	if err == nil {
		a.found = here
	}
	return err
}

// note writes what a probe has found, in a command that may write. Without it the next run
// tries again.
func (a *able) note() {
	if a.found != "" {
		_ = journal.WriteNote(a.path(), a.found)
		a.found = ""
	}
}

// rightsHere is everything that what this process may load depends on: the boot, its user
// namespace, its capabilities, and what locks a kernel. It is "" if that is not known.
func rightsHere() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	users, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return ""
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	here := []string{programOf(""), strings.TrimSpace(string(boot)), users}
	for line := range strings.Lines(string(status)) {
		switch key, value, _ := strings.Cut(line, ":"); key {
		case "Uid", "CapEff", "NoNewPrivs", "Seccomp", "Seccomp_filters":
			here = append(here, key+" "+strings.Join(strings.Fields(value), " "))
		}
	}
	// Most kernels have no such file.
	lockdown, _ := os.ReadFile("/sys/kernel/security/lockdown")
	return strings.Join(append(here, strings.TrimSpace(string(lockdown))), "\n")
}
