package hint

import (
	"fmt"
	"strings"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
)

// override returns the flag that overrides a guard's refusal.
func override(r *plan.Refusal) string {
	flag := map[string]string{
		plan.GuardForeignTable: "--adopt", plan.GuardEmptyProvider: "--allow-empty",
		plan.GuardCutInside: "--allow-cut-inside", plan.GuardCutLive: "--allow-cut-live",
		plan.GuardProtected: "--allow-protected",
	}[r.Guard]
	if len(r.Subjects) == 0 {
		return flag
	}
	var flags []string
	for _, subject := range r.Subjects {
		flags = append(flags, flag+" "+subject)
	}
	return strings.Join(flags, " ")
}

// WayOut says what ends an alarm: a command, or a line of the policy.
func WayOut(w resolve.WayOut) string {
	where := "trusted"
	if w.Owner != "" {
		where = "provider " + w.Owner
	}
	line := fmt.Sprintf("write \"addresses: [%s]\" under %s in the policy", resolve.AddressList(w.Addresses), where)
	switch w.Kind {
	case resolve.CheckName:
		return "look at ringfence resolve " + w.Name + "; if the address is right, " + line
	case resolve.RemoveName:
		return fmt.Sprintf("if the name is not used any more, remove %s from the policy and run ringfence apply", w.Name)
	case resolve.AcceptLarge:
		return "if this number is right: ringfence refresh --accept-large " + w.Name
	case resolve.ListAddresses:
		return "if they are right, " + line
	case resolve.CompareServers:
		return "a name server gives wrong answers: compare ringfence resolve " + w.Name + " with another one (dns.servers in the policy)"
	case resolve.FindWrongServer:
		return "find out which name server is wrong (dns.servers in the policy); if they are right, " + line
	case resolve.AskRegularly:
		return "run ringfence refresh by cron or by a timer, or ringfence run as a service"
	case resolve.LimitName:
		return "look at ringfence resolve " + w.Name + "; if all of it is right, list the networks behind it as addresses under " + where + " in the policy"
	case resolve.ReachList:
		return "let this host reach it by HTTPS; what the preset and the policy list stays allowed without it"
	case resolve.RepairServer:
		return "repair the name server, or ask another one (dns.servers in the policy): ringfence resolve " + w.Name + " shows what fails"
	}
	return ""
}

// Mistake returns a mistake of a policy with where to look it up.
func Mistake(m policy.Mistake) string {
	if m.See == policy.SeeSignatures {
		return m.Error() + ": see ringfence signatures --all"
	}
	return m.Error()
}
