package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/source"
)

// Provider is one file of providers/: a preset that a policy can name.
type Provider struct {
	Name  string `yaml:"-"` // the file's name
	Title string `yaml:"title"`
	// Kind says what the provider's servers are known by: dns, dns+cidr, cidr,
	// or template, whose names hold something that only the customer knows.
	Kind       Kind               `yaml:"kind"`
	Parameters []policy.Parameter `yaml:"parameters"`
	// Registrars are domain names in lower case; {name} stands for a parameter.
	Registrars []string `yaml:"registrars"`
	// Addresses are addresses and prefixes that calls come from.
	Addresses []string `yaml:"addresses"`
	// List is what the provider publishes for programs, nil if nothing is known.
	List *policy.List `yaml:"list"`
	// Records are the types of records that the names are known to have; none =
	// not known.
	Records []string `yaml:"records"`
	// Ports is where the provider's servers listen, if not on 5060 and 5061.
	Ports string `yaml:"ports"`
	// Media is where sound comes from. ringfence leaves it alone; other firewalls
	// may need it.
	Media string `yaml:"media"`
	// Source is where the data stands, Checked the day when it was last read
	// there, as 2006-01-02.
	Source     string            `yaml:"source"`
	Checked    string            `yaml:"checked"`
	Confidence source.Confidence `yaml:"confidence"`
	Caveat     string            `yaml:"caveat"` // what its user should know
}

// Kind is what a provider's servers are known by.
type Kind string

// The kinds of providers.
const (
	ByName           Kind = "dns"
	ByNameAndAddress Kind = "dns+cidr"
	ByAddress        Kind = "cidr"
	Template         Kind = "template"
)

// Prefixes are the provider's addresses.
func (p Provider) Prefixes() ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range p.Addresses {
		prefix, err := policy.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("read provider %s: %w", p.Name, err)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

// HasSRV reports whether the provider's names are known to have SRV or NAPTR
// records, which a phone asks for only if no port is written at its server.
func (p Provider) HasSRV() bool {
	return slices.Contains(p.Records, "SRV") || slices.Contains(p.Records, "NAPTR")
}

// PolicyLines are the preset's entry in the list of providers of a policy, one
// string a line, the first with the hyphen. A parameter that with lacks has no
// value in it; the line then says what to fill in, and a policy with it is
// refused until somebody does.
func (p Provider) PolicyLines(with map[string]string) []string {
	lines := []string{"- preset: " + p.Name}
	var values, missing []string
	for _, parameter := range p.Parameters {
		value := with[parameter.Name]
		if value == "" {
			missing = append(missing, fmt.Sprintf("%s: %s, such as %s", parameter.Name, parameter.Means, parameter.Example))
		}
		values = append(values, parameter.Name+": "+Word(value))
	}
	if len(values) == 0 {
		return lines
	}
	line := "  with: {" + strings.Join(values, ", ") + "}"
	if len(missing) > 0 {
		line += "   # fill in " + strings.Join(missing, "; ")
	}
	return append(lines, line)
}

// Examples are values for all parameters, to show the preset with.
func (p Provider) Examples() map[string]string {
	examples := map[string]string{}
	for _, parameter := range p.Parameters {
		examples[parameter.Name] = parameter.Example
	}
	return examples
}

// plainValue is a value that needs no quotes in YAML, with the exception of null.
var plainValue = expression(`^[a-zA-Z][a-zA-Z0-9-]*$`)

// Word writes a value for YAML, in quotes where it would not be read as it is. The empty
// one stays empty: there is none.
func Word(value string) string {
	if value == "" || plainValue().MatchString(value) && !strings.EqualFold(value, "null") {
		return value
	}
	return strconv.Quote(value)
}

// staleAfter is how long a preset is believed without looking again.
const staleAfter = 180 * 24 * time.Hour

// Warnings say what speaks against trusting the preset now: that it has low
// confidence, and that nobody has looked for more than 180 days.
func (p Provider) Warnings(now time.Time) []string {
	var warnings []string
	if p.Confidence == source.Low {
		warnings = append(warnings, fmt.Sprintf("preset %s has low confidence: %s", p.Name, p.Caveat))
	}
	checked, err := time.Parse(time.DateOnly, p.Checked)
	if age := now.Sub(checked); err == nil && age > staleAfter {
		warnings = append(warnings, fmt.Sprintf("preset %s was last checked %d days ago, on %s: compare it with its source (%s)",
			p.Name, int(age/(24*time.Hour)), p.Checked, p.Source))
	}
	return warnings
}
