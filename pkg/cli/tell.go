package cli

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
)

// failedProviders says, by provider, why its names brought nothing.
func failedProviders(p *policy.Policy, problems []resolve.Problem) map[string]string {
	failed := map[string]string{}
	for _, provider := range p.Providers {
		for _, r := range provider.Registrars {
			for _, problem := range problems {
				if problem.Target.Registrar && problem.Target.Name == r.Host && failed[provider.Name] == "" {
					failed[provider.Name] = problemText(problem)
				}
			}
		}
	}
	return failed
}

func problemText(p resolve.Problem) string {
	if p.Type == "" {
		return fmt.Sprintf("%s: %s", p.Name, p.Error)
	}
	return fmt.Sprintf("%s %s: %s", p.Name, p.Type, p.Error)
}

// tellProblems warns of names that failed, those of one name and one reason
// together.
func (a *app) tellProblems(problems []resolve.Problem) {
	type group struct {
		target resolve.Target
		reason string
	}
	members := map[group]int{}
	for _, p := range problems {
		members[group{p.Target, p.Error}]++
	}
	for _, p := range problems {
		g := group{p.Target, p.Error}
		n := members[g]
		delete(members, g)
		switch {
		case n == 1:
			a.say("warning", problemText(p))
		case n > 1:
			a.say("warning", fmt.Sprintf("%s (and %s more about %s)", problemText(p), count(n-1, "question"), p.Target.Name))
		}
	}
}

// tellRejected warns of addresses that are not believed, beside others of their
// name that are.
func (a *app) tellRejected(m resolve.Memory) {
	for _, known := range m.Names {
		alone := slices.ContainsFunc(m.Refresh.Failures, func(p resolve.Problem) bool { return p.Type == "" && p.Name == known.Name })
		for _, r := range known.Rejected {
			if !alone {
				a.say("warning", fmt.Sprintf("%s: left out %s, because it %s", known.Name, r.Address, r.Why))
			}
		}
	}
}

// userName is who runs the program, the one behind sudo if there is one.
func userName() string {
	if name := plainText(os.Getenv("SUDO_USER")); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

// plainText is a text from the environment without what could do harm where it is
// shown, and no longer than a comment in the kernel may be.
func plainText(text string) string {
	const most = 64
	var plain []rune
	for _, r := range text {
		if unicode.IsPrint(r) && len(plain) < most {
			plain = append(plain, r)
		}
	}
	return string(plain)
}

// count writes a number with its noun, in the plural where it belongs.
func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "s") || strings.HasSuffix(noun, "x"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// ago writes how long ago a time was.
func ago(t time.Time) string {
	switch d := time.Since(t); {
	case t.IsZero():
		return "never"
	case d < 0:
		return "at " + t.Format(time.RFC3339)
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}
