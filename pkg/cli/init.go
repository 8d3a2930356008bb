package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/publicsuffix"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/rules"
)

func initCommand(a *app) *cobra.Command {
	var providers []string
	c := &cobra.Command{
		Use:   "init",
		Short: "Write a first policy for this host",
		Long: `init looks at this host (its networks, the interfaces that lead outside, whether
it forwards, the SIP server that listens, the name servers) and writes a policy
for it, with comments, which you then complete. It changes nothing else, and
never replaces a policy.

A provider is one of the presets that ringfence ships (ringfence providers lists
them) or the registrar's name as your phones have it. Without one the policy
begins in monitor mode, which drops nothing.`,
		Example: `  ringfence init
  ringfence init --provider telnyx --provider sip.provider.example
  ringfence init --provider twilio:trunk=mycompany`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return runInit(a, providers) },
	}
	c.Flags().StringArrayVar(&providers, "provider", nil, "a `preset` (with :parameter=value where it needs one), or the registrar's name")
	return c
}

func runInit(a *app, names []string) error {
	if _, err := os.Lstat(a.policyPath); err == nil {
		return alreadyThere(a)
	}
	providers, err := draftProviders(a, names)
	if err != nil {
		return err
	}
	world := a.fence().World
	h, err := world.Host()
	if err != nil {
		return err
	}
	servers, err := world.Listeners()
	if err != nil {
		return err
	}
	draft := policy.NewDraft(h, servers, providers)
	text := draft.Text(time.Now())
	if _, err := catalog.Parse(a.policyPath, []byte(text)); err != nil {
		return fmt.Errorf("draft policy: %w", err)
	}
	if err := writeNewPolicy(a, text); err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(draftReport(a.policyPath, draft))
	}
	printDraft(a, draft)
	return nil
}

func alreadyThere(a *app) error {
	return notice.WithHint(fmt.Errorf("%s exists already: nothing was written", a.policyPath),
		"to write a draft to another file: ringfence --policy FILE init")
}

// defaultPolicy is the usual policy.
const defaultPolicy = "/etc/ringfence/policy.yaml"

// check needs no root: the policy is for everybody to read.
const (
	policyMode   = 0o644
	policyFolder = 0o755
)

// makePolicyFolder makes the folder of the usual policy. Any other one has to be there:
// a path with a mistake in it makes no folders.
func makePolicyFolder(path string) error {
	folder := filepath.Dir(path)
	if path != defaultPolicy {
		return nil
	}
	err := os.Mkdir(folder, policyFolder)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(folder, policyFolder)
	}
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}

// writeNewPolicy writes a file that must not exist yet, completely or not at all.
func writeNewPolicy(a *app, text string) error {
	if err := makePolicyFolder(a.policyPath); err != nil {
		return err
	}
	f, err := os.OpenFile(a.policyPath, os.O_WRONLY|os.O_CREATE|os.O_EXCL, policyMode)
	if errors.Is(err, fs.ErrExist) {
		return alreadyThere(a)
	}
	if folder := filepath.Dir(a.policyPath); errors.Is(err, fs.ErrNotExist) {
		return notice.WithHint(fmt.Errorf("write policy: there is no folder %s", folder), "to make it: mkdir -p %s", folder)
	}
	if err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	// Whatever root's umask is.
	err = f.Chmod(policyMode)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write policy: %w", err), os.Remove(a.policyPath))
	}
	return nil
}

// draftProviders returns the entries of a policy for the providers on the command line,
// each as its lines.
func draftProviders(a *app, texts []string) ([][]string, error) {
	presets, err := catalog.Providers()
	if err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	var entries [][]string
	for _, text := range texts {
		name, values, _ := strings.Cut(text, ":")
		if preset, ok := presets[name]; ok {
			if taken[name] {
				return nil, fmt.Errorf("--provider %s is given twice", name)
			}
			taken[name] = true
			lines, err := presetLines(preset, values)
			if err != nil {
				return nil, err
			}
			for _, warning := range preset.Warnings(time.Now()) {
				a.warn(warning)
			}
			entries = append(entries, lines)
			continue
		}
		r, ok := policy.ParseRegistrar(text)
		if !ok || !r.Address.IsValid() && !strings.Contains(r.Host, ".") {
			return nil, notice.WithHint(fmt.Errorf("there is no preset %q: the presets are %s", text, strings.Join(slices.Sorted(maps.Keys(presets)), ", ")),
				"or give the registrar's name as your phones have it: ringfence init --provider sip.provider.example")
		}
		short := providerNameOf(r)
		for base, n := short, 2; taken[short]; n++ {
			short = fmt.Sprintf("%s-%d", base, n)
		}
		taken[short] = true
		entries = append(entries, []string{
			"- name: " + short,
			fmt.Sprintf("  registrars: [%q]", text),
			"  # Servers that call you and have no DNS record; the provider's help pages list them.",
			"  addresses: []",
		})
	}
	return entries, nil
}

// presetLines returns a preset's entry, with values for its parameters, such as
// "trunk=mycompany".
func presetLines(preset rules.Provider, values string) ([]string, error) {
	with := map[string]string{}
	for value := range strings.SplitSeq(values, ",") {
		key, v, _ := strings.Cut(value, "=")
		known := slices.ContainsFunc(preset.Parameters, func(p policy.Parameter) bool { return p.Name == key })
		if value != "" && !known {
			return nil, notice.WithHint(fmt.Errorf("preset %s has no parameter %q", preset.Name, key), "see ringfence providers show %s", preset.Name)
		}
		with[key] = v
	}
	var missing, example []string
	for _, p := range preset.Parameters {
		if with[p.Name] == "" {
			missing = append(missing, fmt.Sprintf("%s (%s)", p.Name, p.Means))
		}
		example = append(example, p.Name+"="+p.Example)
	}
	if len(missing) > 0 {
		return nil, notice.WithHint(fmt.Errorf("preset %s needs %s", preset.Name, strings.Join(missing, ", ")),
			"write it like this: --provider %s:%s", preset.Name, strings.Join(example, ","))
	}
	lines := []string{fmt.Sprintf("# %s; from %s, %s", preset.Title, preset.Source, preset.Checked)}
	if preset.Caveat != "" {
		lines = append(lines, strings.Split(notice.Fold("# "+preset.Caveat, 76, "# "), "\n")...)
	}
	return append(lines, preset.PolicyLines(with)...), nil
}

// providerNameOf makes a provider's name from a registrar's: "acme" from
// sip.acme.example and from sip.acme.co.uk.
func providerNameOf(r policy.Registrar) string {
	domain, err := publicsuffix.EffectiveTLDPlusOne(r.Host)
	if err != nil {
		return "provider"
	}
	name, _, _ := strings.Cut(domain, ".")
	if name = strings.Trim(strings.ReplaceAll(name, "_", "-"), "-"); name == "" {
		return "provider"
	}
	return name
}

func draftReport(path string, d policy.Draft) any {
	networks := func(list []ruleset.Network) []string {
		texts := []string{}
		for _, n := range list {
			texts = append(texts, n.Prefix.String())
		}
		return texts
	}
	return struct {
		Path       string             `json:"path"`
		Monitor    bool               `json:"monitor"`
		Forwards   bool               `json:"forwards"`
		Outside    []string           `json:"outside"`
		Interfaces []string           `json:"interfaces"`
		Trusted    []string           `json:"trusted"`
		Inside     []string           `json:"inside"`
		Servers    []ruleset.Listener `json:"servers"`
	}{
		path, d.Monitor, d.Host.Forwards, append([]string{}, d.Host.Outside...), append([]string{}, d.Interfaces...),
		networks(d.Trusted), networks(d.Inside), append([]ruleset.Listener{}, d.Servers...),
	}
}

func printDraft(a *app, d policy.Draft) {
	fmt.Fprintf(a.stdout, "Wrote %s for this host:\n", a.policyPath)
	table(a.stdout, func(w io.Writer) {
		none := func(texts []string, otherwise string) string {
			if len(texts) == 0 {
				return otherwise
			}
			return strings.Join(texts, ", ")
		}
		fmt.Fprintf(w, "  leads outside\t%s\n", none(d.Host.Outside, "no interface has a default route"))
		fmt.Fprintf(w, "  fenced\t%s\n", none(d.Interfaces, "every interface but lo"))
		fmt.Fprintf(w, "  trusted\t%s\n", none(texts(d.Trusted), "no private network is connected"))
		if d.Host.Forwards {
			fmt.Fprintf(w, "  inside\t%s\n", none(texts(d.Inside), "none"))
		}
		fmt.Fprintf(w, "  SIP server\t%s\n", none(serverTexts(d.Servers), "none listens now"))
	})
	if d.Monitor {
		fmt.Fprintln(a.stdout, "It drops nothing yet (mode: monitor): add your provider, and then write enforce.")
	}
	fmt.Fprintln(a.stdout, "Read it, then: ringfence diff")
}

func texts[T fmt.Stringer](items []T) []string {
	var list []string
	for _, item := range items {
		list = append(list, item.String())
	}
	return list
}

func serverTexts(servers []ruleset.Listener) []string {
	var list []string
	for _, s := range servers {
		text := fmt.Sprintf("%s %d", strings.ToUpper(string(s.Protocol)), s.Port)
		if s.Program != "" {
			text += " (" + s.Program + ")"
		}
		list = append(list, text)
	}
	return list
}
