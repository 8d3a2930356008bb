package iptables

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"
)

// Flavour says which iptables is meant.
type Flavour string

// The flavours. Host is that of the host's program iptables.
const (
	Host   Flavour = "iptables"
	Legacy Flavour = "iptables-legacy"
	NFT    Flavour = "iptables-nft"
)

// lockSeconds is how long a program waits for another one that changes rules
// (/run/xtables.lock). Then its error says so.
const lockSeconds = 10

// tool runs the programs of one flavour.
type tool struct {
	flavour Flavour // Legacy or NFT
	// paths are those of the program for IPv4 and for IPv6.
	paths map[bool]string
	// each has the library's way to call it, made when it is first needed: that alone
	// runs it once.
	each map[bool]*goiptables.IPTables
}

// folders are where system programs are when PATH does not say so, as for cron.
var folders = []string{"/usr/sbin", "/sbin", "/usr/local/sbin"}

// program finds a program of the system.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, folder := range folders {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", missing(fmt.Sprintf("there is no program %s in PATH or in %s: install the package iptables", name, strings.Join(folders, ", ")))
}

// findTool finds the programs of a flavour.
func findTool(ctx context.Context, f Flavour) (*tool, error) {
	t := &tool{flavour: f, paths: map[bool]string{}, each: map[bool]*goiptables.IPTables{}}
	for v6, family := range map[bool]string{false: "iptables", true: "ip6tables"} {
		name := family + strings.TrimPrefix(string(f), "iptables")
		for _, suffix := range []string{"", "-save", "-restore"} {
			path, err := program(name + suffix)
			if err != nil {
				return nil, err
			}
			if suffix == "" {
				t.paths[v6] = path
			}
		}
	}
	if f == Host {
		version, err := run(ctx, t.paths[false], nil, "--version")
		if err != nil {
			return nil, err
		}
		t.flavour = Legacy // older programs have no other
		if strings.Contains(version, "nf_tables") {
			t.flavour = NFT
		}
	}
	return t, nil
}

// library returns the library's way to call the program for a family.
func (t *tool) library(v6 bool) (*goiptables.IPTables, error) {
	if ipt := t.each[v6]; ipt != nil {
		return ipt, nil
	}
	family := goiptables.ProtocolIPv4
	if v6 {
		family = goiptables.ProtocolIPv6
	}
	ipt, err := goiptables.New(goiptables.IPFamily(family), goiptables.Path(t.paths[v6]), goiptables.Timeout(lockSeconds))
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", t.paths[v6], err)
	}
	t.each[v6] = ipt
	return ipt, nil
}

// lead leads the packets of a hook to a chain, before all other rules.
func (t *tool) lead(w where, hook, chain string) error {
	ipt, err := t.library(w.v6)
	if err != nil {
		return err
	}
	if err := ipt.Insert(w.table, hook, 1, "-j", chain); err != nil {
		return fmt.Errorf("insert a jump into %s (%s): %w", hook, w, toolError(err))
	}
	return nil
}

// unlead deletes a line of a hook.
func (t *tool) unlead(w where, hook, line string) error {
	ipt, err := t.library(w.v6)
	if err != nil {
		return err
	}
	if err := ipt.Delete(w.table, hook, strings.Fields(line)...); err != nil {
		return fmt.Errorf("delete a jump from %s (%s): %w", hook, w, toolError(err))
	}
	return nil
}

// legacyTables are the tables that the kernel has in the legacy flavour. To read another
// one would make it.
func legacyTables(v6 bool) []string {
	file := "/proc/thread-self/net/ip_tables_names"
	if v6 {
		file = "/proc/thread-self/net/ip6_tables_names"
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// reads reports whether there is anything to read in a table.
func (t *tool) reads(w where) bool {
	return t.flavour != Legacy || slices.Contains(legacyTables(w.v6), w.table)
}
