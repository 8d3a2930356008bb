// Package hint says what a user can do about an error, a refusal or an alarm: the flags
// and commands of the command line, and lines of the policy. It has the words for the
// codes of other packages.
package hint

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/signature"
)

// Of returns what the user can do about an error, "" if nothing is known. rights are
// those of this process.
func Of(err error, rights fence.Rights) string {
	if up, ok := errors.AsType[*fence.StillUp](err); ok {
		alone := fmt.Sprintf("to remove the rules alone: %s; a refresh would put it back", up.Remove)
		if more := Of(up.Err, rights); more != "" {
			return more + "; " + alone
		}
		return alone
	}
	if h := notice.Hint(err); h != "" {
		return h
	}
	if refusal, ok := errors.AsType[*plan.Refusal](err); ok {
		return fmt.Sprintf("%s; or use %s if you are sure", refusal.WayOut, override(refusal))
	}
	switch {
	case errors.Is(err, signature.ErrTooMany):
		return "leave some out under signatures.except, or shorten signatures.deny"
	case errors.Is(err, backend.ErrIncomplete): // its text says what to do
	case errors.Is(err, backend.ErrUnsupported):
		return "load the module (modprobe nf_tables), or use a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET"
	case errors.Is(err, fence.ErrNoGeneration):
		return "write a policy and run: ringfence apply"
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.ENOTDIR):
		return "make it writable, or name another folder with --state-dir or --run-dir"
	case errors.Is(err, unix.ENOSPC):
		return "free some space there, and run it again"
	}
	return permissionHint(err, rights)
}

// permissionHint returns a hint for EPERM, which alone does not say what this process
// lacks.
func permissionHint(err error, rights fence.Rights) string {
	const asRoot = "run it as root: sudo ringfence …"
	ofFile := false
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		ofFile = true
	}
	switch {
	case errors.Is(err, backend.ErrOwned):
		return ownedHint
	case !errors.Is(err, fs.ErrPermission) && !errors.Is(err, backend.ErrPermission):
		return ""
	case !rights.Root:
		return asRoot
	case ofFile:
		return "" // the error names the file, which may be locked even for root (chattr +i)
	case !rights.NetAdmin:
		return "it runs as root without CAP_NET_ADMIN: give it that capability (docker run --cap-add NET_ADMIN; CapabilityBoundingSet= of a service)"
	case errors.Is(err, backend.ErrPermission) && !rights.NetRaw:
		return "it runs as root without CAP_NET_RAW, which iptables needs: give it that capability (CapabilityBoundingSet= of a service), or write backend: nftables"
	case errors.Is(err, backend.ErrPermission) && rights.UserNamespace:
		return "it runs in a user namespace, as in an unprivileged container, and this network belongs to the host: run it on the host"
	case errors.Is(err, backend.ErrPermission):
		return "a security module or a seccomp filter forbids it: see the log of the kernel (dmesg)"
	}
	return ""
}

const ownedHint = "end that process (nft list table inet ringfence shows its name beside \"flags owner\") and run this again"
