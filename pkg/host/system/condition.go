package system

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/host/dump"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/host"
)

// Condition reads what helps a fence on this machine or works against it. What cannot be
// read is logged and counts as fine.
func Condition(log *slog.Logger, stateFolder string) host.Condition {
	c := host.Condition{
		ShaperFiles: shaperSettings(), SavedRules: naming("ringfence", savedRules),
		Runners: slices.Concat(services(), naming("ringfence refresh", cronFiles), enabledUnits()), State: Folder(stateFolder),
		SIPTracking: len(existing([]string{"/sys/module/nf_conntrack_sip"})) > 0,
		Automatic:   isOne("/proc/sys/net/netfilter/nf_conntrack_helper"),
		Legacy:      legacyTables(),
	}
	for _, read := range []func(*host.Condition) error{links, marks, clock} {
		if err := read(&c); err != nil {
			log.Info("read the condition of the host", "error", err)
		}
	}
	return c
}

// shaperFiles belong to programs that put a qdisc of their own at the ingress of a link.
var shaperFiles = []string{
	"/etc/wondershaper", "/etc/conf.d/wondershaper.conf", "/etc/firehol/fireqos.conf", "/etc/sqm/*.iface.conf",
	"/etc/config/sqm", "/etc/shorewall/tcdevices", "/etc/shorewall/tcinterfaces",
}

// shapingWords are what files say that put a qdisc there, by the files.
var shapingWords = []struct {
	word  string
	files []string
}{
	{"tc qdisc", []string{
		"/etc/network/interfaces", "/etc/network/interfaces.d/*", "/etc/network/if-up.d/*", "/etc/rc.local",
		"/etc/NetworkManager/dispatcher.d/*", "/etc/networkd-dispatcher/routable.d/*",
	}},
	{"Parent=ingress", []string{"/etc/systemd/network/*.network"}},
	{"Parent=clsact", []string{"/etc/systemd/network/*.network"}},
	{`"bandwidth"`, []string{"/etc/cni/net.d/*.conf", "/etc/cni/net.d/*.conflist"}},
}

// shaperSettings are the files by which a program will want the ingress of a link.
func shaperSettings() []string {
	found := existing(shaperFiles)
	for _, s := range shapingWords {
		found = append(found, naming(s.word, s.files)...)
	}
	return found
}

// savedRules are loaded at boot by packages for iptables and nftables.
var savedRules = []string{
	"/etc/iptables/rules.v4", "/etc/iptables/rules.v6", "/etc/iptables/*.rules", "/etc/sysconfig/iptables", "/etc/sysconfig/ip6tables",
	"/etc/iptables.up.rules", "/etc/nftables.conf", "/etc/sysconfig/nftables.conf",
}

// cronFiles are those of cron.
var cronFiles = []string{
	"/etc/crontab", "/etc/cron.d/*", "/etc/cron.hourly/*", "/var/spool/cron/*", "/var/spool/cron/crontabs/*", "/etc/crontabs/*",
}

// unitFiles are those of systemd that may run ringfence, and enabledFolders hold what it
// starts at boot.
var (
	unitFiles      = []string{"/etc/systemd/system/*.service", "/usr/lib/systemd/system/ringfence*.service"}
	enabledFolders = []string{"/etc/systemd/system/*.wants/", "/run/systemd/system/*.wants/", "/usr/lib/systemd/system/*.wants/"}
)

// enabledUnits are the services that refresh the fence and are started at boot, or by a
// timer that is.
func enabledUnits() []string {
	var found []string
	for _, path := range append(naming("ringfence refresh", unitFiles), naming("ringfence run", unitFiles)...) {
		unit := strings.TrimSuffix(filepath.Base(path), ".service")
		for _, folder := range enabledFolders {
			if len(existing([]string{folder + unit + ".service", folder + unit + ".timer"})) > 0 {
				found = append(found, path)
				break
			}
		}
	}
	return found
}

// SavedRules are the texts of the files of rules that are loaded at boot, of those that
// can be read.
func SavedRules() []string {
	var texts []string
	for _, path := range existing(savedRules) {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > mostRead {
			continue
		}
		if content, err := os.ReadFile(path); err == nil {
			texts = append(texts, string(content))
		}
	}
	return texts
}

func existing(patterns []string) []string {
	var found []string
	for _, pattern := range patterns {
		files, _ := filepath.Glob(pattern)
		found = append(found, files...)
	}
	return found
}

// mostRead is what is read of a file of settings.
const mostRead = 1 << 20

// naming are the files among those of the patterns that have a word outside of
// comments.
func naming(word string, patterns []string) []string {
	var found []string
	for _, path := range existing(patterns) {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > mostRead {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(bytes.NewReader(content))
		lines.Buffer(nil, mostRead)
		for lines.Scan() {
			line := strings.TrimSpace(lines.Text())
			if strings.Contains(line, word) && !strings.HasPrefix(line, "#") {
				found = append(found, path)
				break
			}
		}
	}
	return found
}

// services are the running processes that keep the fence up, in this network
// namespace.
func services() []string {
	own, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return nil
	}
	var found []string
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range processes {
		line, err := os.ReadFile(path)
		arguments := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
		if err != nil || !strings.Contains(filepath.Base(arguments[0]), "ringfence") || !slices.Contains(arguments[1:], "run") {
			continue
		}
		process := filepath.Dir(path)
		if where, err := os.Readlink(filepath.Join(process, "ns/net")); err == nil && where == own {
			found = append(found, "process "+filepath.Base(process))
		}
	}
	return found
}

func isOne(path string) bool {
	content, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(content)) == "1"
}

func legacyTables() []string {
	var tables []string
	for _, path := range []string{"/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names"} {
		content, _ := os.ReadFile(path)
		tables = append(tables, strings.Fields(string(content))...)
	}
	slices.Sort(tables)
	return slices.Compact(tables)
}

// shapingKinds are the kinds of queues that a program has put there on purpose to limit
// what a link sends.
var shapingKinds = []string{"htb", "hfsc", "cake", "tbf", "cbq", "prio", "drr", "qfq"}

func links(c *host.Condition) error {
	list, err := dump.Whole(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("read interfaces: %w", err)
	}
	names := map[int]string{}
	for _, link := range list {
		names[link.Attrs().Index] = link.Attrs().Name
		if xdp := link.Attrs().Xdp; xdp != nil && xdp.Attached {
			c.XDP = append(c.XDP, link.Attrs().Name)
		}
		if link.Type() == "ifb" { // to which shapers redirect what comes in
			c.ShaperFiles = append(c.ShaperFiles, "interface "+link.Attrs().Name)
		}
	}
	queues, err := dump.Whole(func() ([]netlink.Qdisc, error) { return netlink.QdiscList(nil) })
	if err != nil {
		return fmt.Errorf("read queues: %w", err)
	}
	c.Shapers = map[string]string{}
	for _, q := range queues {
		if q.Attrs().Parent == netlink.HANDLE_ROOT && slices.Contains(shapingKinds, q.Type()) {
			c.Shapers[names[q.Attrs().LinkIndex]] = q.Type()
		}
	}
	return nil
}

func marks(c *host.Condition) error {
	list, err := dump.Whole(func() ([]netlink.Rule, error) { return netlink.RuleList(netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("read routing rules: %w", err)
	}
	for _, rule := range list {
		if rule.Mark == 0 && rule.Mask == nil {
			continue
		}
		bits := rule.Mark
		if rule.Mask != nil && *rule.Mask != ^uint32(0) {
			bits |= *rule.Mask
		}
		c.RuleMarks |= bits
	}
	return nil
}

func clock(c *host.Condition) error {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return fmt.Errorf("read the state of the clock: %w", err)
	}
	c.Unsynchronised = state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0
	return nil
}

// Folder reads whose a folder is and what room it has.
func Folder(path string) host.Folder {
	f := host.Folder{Path: path, Owner: -1, Free: -1, FreeFiles: -1}
	var status unix.Stat_t
	if unix.Stat(path, &status) != nil {
		return f
	}
	f.Exists, f.Owner, f.Writable = true, int(status.Uid), status.Mode&0o022 != 0
	var system unix.Statfs_t
	if unix.Statfs(path, &system) == nil {
		f.ReadOnly = system.Flags&unix.ST_RDONLY != 0
		f.Free = int64(system.Bavail) * int64(system.Bsize) //nolint:unconvert // Bsize has 32 bits on some architectures
		if system.Files > 0 {
			f.FreeFiles = int64(system.Ffree)
		}
	}
	return f
}
