package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

func obstacle(f Facts) []Finding {
	if f.Obstacle == nil {
		return nil
	}
	const why = "without it ringfence can neither put up a fence nor say whether there is one"
	if strings.HasPrefix(f.Backend, string(policy.BackendIPTables)) {
		return []Finding{{
			Name: "no-iptables", Severity: notice.Alarm, Finding: f.Obstacle.Error(), Why: why,
			WayOut: "run it as root; install iptables and load ip_set, ip_set_hash_net, ip_set_hash_ip and xt_set; or write backend: nftables",
		}}
	}
	return []Finding{{
		Name: "no-nftables", Severity: notice.Alarm, Finding: f.Obstacle.Error(),
		Why:    why,
		WayOut: "run it as root; load the module (modprobe nf_tables), or use a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET",
	}}
}

// fence says that nothing is fenced where no alarm says so.
func fence(f Facts) []Finding {
	switch {
	case f.Obstacle != nil:
		return nil
	case f.Site == nil:
		return []Finding{{
			Name: "no-generation", Severity: notice.Alarm, Finding: "no policy was ever applied here, or the state folder was lost",
			Why: "nothing is fenced", WayOut: "write a policy (ringfence init) and run ringfence apply",
		}}
	case f.Down:
		return []Finding{{
			Name: "down", Severity: notice.Warning, Finding: "the fence was taken down on purpose",
			Why: "nothing is fenced", WayOut: "put it up with ringfence up",
		}}
	case len(f.Site.FencedInterfaces()) == 0:
		return []Finding{{
			Name: "no-interface", Severity: notice.Alarm, Finding: absentText(f.Site.Policy.Interfaces),
			Why: "nothing is fenced", WayOut: absentWayOut(f.Site.Policy.Interfaces),
		}}
	}
	return nil
}

// absentText says that none of the listed interfaces is there; none listed is all but lo.
func absentText(listed []string) string {
	if len(listed) == 0 {
		return "there is no interface but lo in this network namespace"
	}
	return "none of the policy's interfaces is there: " + strings.Join(listed, ", ")
}

func absentWayOut(listed []string) string {
	if len(listed) == 0 {
		return "bring one up, or run ringfence in the network namespace of the PBX (ip netns exec, nsenter); the fence is in place when one comes"
	}
	return "correct interfaces in the policy (ip link shows their names), and run ringfence apply"
}

// alarms are those of status.
func alarms(f Facts) []Finding {
	var found []Finding
	for _, a := range f.Alarms {
		found = append(found, Finding{
			Name: string(a.Kind), Severity: notice.Alarm, Finding: a.Notice().Text,
			Why: "the fence is less than the policy says, or will be", WayOut: a.WayOut,
		})
	}
	return found
}

func classifier(f Facts) []Finding {
	if f.Site == nil {
		return nil
	}
	if e := f.Site.Policy.Signatures.Engine; e == policy.EngineOff || e == policy.EngineString {
		return nil
	}
	var found []Finding
	why := "scanners are not recognised: they are dropped as unknown, or pass where unknown.action is accept"
	if f.Site.Policy.Monitor {
		why = "scanners are not recognised: of what they send it is not known that it would be dropped for that"
	}
	for _, text := range f.NotAttached {
		found = append(found, Finding{
			Name: "classifier-refused", Severity: notice.Warning, Finding: "the kernel has refused the classifier: " + text, Why: why,
			WayOut: "use a kernel that the README names; ringfence refresh --log-level debug shows what its verifier says; or write signatures.engine: off",
		})
	}
	if err := f.Site.ClassifierObstacle(); err != nil && len(found) == 0 {
		found = append(found, Finding{
			Name: "no-classifier", Severity: notice.Warning, Finding: "the classifier cannot be attached: " + err.Error(), Why: why,
			WayOut: "run ringfence with CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON on a kernel with eBPF, take the other program away, or write signatures.engine: off",
		})
	}
	return found
}

func nameServers(f Facts) []Finding {
	var found []Finding
	for _, server := range sortedKeys(f.Silent) {
		found = append(found, Finding{
			Name: "name-server", Severity: notice.Warning, Finding: fmt.Sprintf("the name server %s does not answer: %s", server, f.Silent[server]),
			Why:    "addresses of the provider that are new are not allowed; what is known stays",
			WayOut: "repair it, or name another one under dns.servers in the policy or in /etc/resolv.conf",
		})
	}
	return found
}

func clock(f Facts) []Finding {
	const why = "the times of alarms, bans and generations are wrong, and TLS certificates may be refused"
	switch {
	case !f.Made.IsZero() && f.Now.Before(f.Made.Add(-time.Minute)):
		return []Finding{{
			Name: "clock-wrong", Severity: notice.Warning, Why: why,
			Finding: fmt.Sprintf("the clock is before the time at which generation %d was made (%s)", f.Generation, f.Made.Local().Format(time.DateTime)),
			WayOut:  "set the clock, and keep it right with chrony or systemd-timesyncd",
		}}
	case f.Condition.Unsynchronised:
		return []Finding{{
			Name: "clock-unsynchronised", Severity: notice.Note, Why: why, Finding: "nobody keeps the clock right",
			WayOut: "run chrony or systemd-timesyncd; in a container the host does that",
		}}
	}
	return nil
}

// refreshedLately is how old the last refresh may be where nothing is seen that
// refreshes.
const refreshedLately = 10 * time.Minute

func runners(f Facts) []Finding {
	if f.Site == nil || f.Down || len(f.Condition.Runners) > 0 {
		return nil
	}
	last := "never"
	if !f.Refreshed.IsZero() {
		last = ago(f.Now.Sub(f.Refreshed))
	}
	if f.Now.Sub(f.Refreshed) < refreshedLately && f.Now.Sub(f.Made) > 24*time.Hour {
		return nil // something does, by a way that is not known here
	}
	return []Finding{{
		Name: "no-runner", Severity: notice.Warning, Finding: "no service and no timer refreshes the fence; names were last asked for: " + last,
		Why:    "new addresses of the provider are not allowed, and what another program removes stays away",
		WayOut: "run ringfence run as a service, or ringfence refresh every 5 minutes by cron (the README has both)",
	}}
}

func logReader(f Facts) []Finding {
	if f.LogReader == nil {
		return nil
	}
	return []Finding{{
		Name: "log-taken", Severity: notice.Warning, Finding: fmt.Sprintf("%s receives NFLOG group %d, which ringfence run needs", f.LogReader, ruleset.LogGroup),
		Why:    "packets are dropped and counted all the same, but dropped, watch and report do not say what they contain",
		WayOut: fmt.Sprintf("give %s another group, or stop it; ringfence run listens some seconds later", f.LogReader.Name),
	}}
}

func ago(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// Room that the state folder needs: the largest policies have some megabytes.
const (
	roomNeeded  = 16 << 20
	filesNeeded = 64
)

func stateFolder(f Facts) []Finding {
	s := f.Condition.State
	if !s.Exists {
		return nil // the first apply makes it
	}
	told := slices.ContainsFunc(f.Alarms, func(a site.Alarm) bool { return a.Kind == site.AlarmStateFolder })
	finding := func(severity notice.Severity, what, wayOut string) Finding {
		return Finding{
			Name: "state-folder", Severity: severity, Finding: fmt.Sprintf("the state folder %s %s", s.Path, what),
			Why: "without it there is no rollback, no fence at boot, and no memory of the provider's addresses", WayOut: wayOut,
		}
	}
	var found []Finding
	switch {
	case told:
	case s.ReadOnly:
		found = append(found, finding(notice.Alarm, "is on a file system that is read-only", "make it writable, or name another one with --state-dir"))
	case s.Free >= 0 && s.Free < roomNeeded || s.FreeFiles >= 0 && s.FreeFiles < filesNeeded:
		found = append(found, finding(notice.Alarm, fmt.Sprintf("is nearly full: %d KiB are free", max(s.Free, 0)>>10), "free some space there"))
	}
	if s.Owner >= 0 && s.Owner != 0 && s.Owner != f.User {
		found = append(found, finding(notice.Warning, fmt.Sprintf("belongs to user %d, who can change what the fence does at boot", s.Owner), "chown -R root: "+s.Path))
	}
	if s.Writable {
		found = append(found, finding(notice.Warning, "can be written by others than its owner, who can change what the fence does at boot", "chmod -R go-w "+s.Path))
	}
	return found
}
