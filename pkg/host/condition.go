package host

import "fmt"

// Condition is what of a machine, beside its network, helps a fence or works against
// it.
type Condition struct {
	// XDP are the links on which an XDP program decides before the kernel sees a packet.
	XDP []string
	// Shapers are the links whose packets another program queues, by the kind of queue,
	// and ShaperFiles the settings and interfaces of programs that want the ingress of
	// links.
	Shapers     map[string]string
	ShaperFiles []string
	// SIPTracking says that the kernel's connection tracking reads SIP
	// (nf_conntrack_sip), and Automatic that it does so by itself.
	SIPTracking, Automatic bool
	// Unsynchronised says that nobody keeps the clock right.
	Unsynchronised bool
	// Legacy are the tables of iptables-legacy that are in use.
	Legacy []string
	// SavedRules are files of rules, loaded at boot, that name ringfence's sets or chains.
	SavedRules []string
	// Runners are what refreshes the fence: services, timers, lines for cron.
	Runners []string
	// State is the state folder.
	State Folder
	// RuleMarks are the bits of the packet's mark that routing rules look at.
	RuleMarks uint32
}

// Folder is a folder with the file system that it is on.
type Folder struct {
	Path     string
	Exists   bool
	Owner    int  // -1 if that is not known
	Writable bool // by others than its owner
	ReadOnly bool
	// Free are the bytes, and FreeFiles the files, that there is room for; -1 is not
	// known.
	Free, FreeFiles int64
}

// The room that a run needs to store what it has learned: the largest policies have some
// megabytes, others some kilobytes.
const (
	leastRoom  = 1 << 20
	leastFiles = 8
)

// Unwritable says why nothing can be stored in the folder, "" if something can, or if
// that is not known.
func (f Folder) Unwritable() string {
	switch {
	case !f.Exists:
		return ""
	case f.ReadOnly:
		return "it is on a file system that is read-only"
	case f.Free >= 0 && f.Free < leastRoom:
		return fmt.Sprintf("it is full: %d KiB are free", f.Free>>10)
	case f.FreeFiles >= 0 && f.FreeFiles < leastFiles:
		return fmt.Sprintf("it is full: there is room for %d more files", f.FreeFiles)
	}
	return ""
}
