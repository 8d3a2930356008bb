// Package manual writes the manual pages of a command line, and of the policy file. What
// they say is in the commands and in the examples; it is the form only that is decided
// here.
package manual

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/ringfence/ringfence/examples"
)

// Write writes a page for each command below root, and one for the policy file, into a
// folder, which must exist. It returns their names. version is that of the program, and
// policyFile is where the policy is.
func Write(root *cobra.Command, version, folder, policyFile string) ([]string, error) {
	date, err := buildDate()
	if err != nil {
		return nil, err
	}
	pages, err := commandPages(root, version, date)
	if err != nil {
		return nil, err
	}
	pages = append(pages, page{root.Name() + "-policy.5", policyPage(version, policyFile, date)})
	var names []string
	for _, p := range pages {
		if err := renameio.WriteFile(filepath.Join(folder, p.name), p.text, 0o644, renameio.IgnoreUmask()); err != nil {
			return names, fmt.Errorf("write manual: %w", err)
		}
		names = append(names, p.name)
	}
	return names, nil
}

type page struct {
	name string
	text []byte
}

// commandPages are those of a command and of all below it that users see.
func commandPages(c *cobra.Command, version string, date time.Time) ([]page, error) {
	c.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "8", Date: &date, Source: "ringfence " + version, Manual: "System administration"}
	var text bytes.Buffer
	if err := doc.GenMan(c, header, &text); err != nil {
		return nil, fmt.Errorf("write manual: %w", err)
	}
	pages := []page{{strings.ReplaceAll(c.CommandPath(), " ", "-") + ".8", text.Bytes()}}
	for _, sub := range c.Commands() {
		if !sub.IsAvailableCommand() {
			continue
		}
		more, err := commandPages(sub, version, date)
		if err != nil {
			return nil, err
		}
		pages = append(pages, more...)
	}
	return pages, nil
}

// buildDate is the date of the pages: that of SOURCE_DATE_EPOCH
// (https://reproducible-builds.org/specs/source-date-epoch/), or today.
func buildDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Now(), nil
	}
	var seconds int64
	if _, err := fmt.Sscanf(text, "%d", &seconds); err != nil {
		return time.Time{}, fmt.Errorf("read SOURCE_DATE_EPOCH: %q is not a number of seconds", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// policyPage is the manual page of the policy file: the example that has every key.
func policyPage(version, policyFile string, date time.Time) []byte {
	text := fmt.Sprintf(`%% "RINGFENCE-POLICY" "5" "%s" "ringfence %s" "File formats"

# NAME
ringfence-policy - the policy file of ringfence

# SYNOPSIS
**%s**

# DESCRIPTION
The policy says who may reach the SIP ports of this host and of the networks behind
it. It is YAML, and strict: unknown keys and impossible values are errors, and
**ringfence check** names all of them with line and column. **ringfence init** writes
a first policy for this host. Times take d, h, m and s.

# EXAMPLE
%s

# SEE ALSO
**ringfence(8)**, **ringfence-check(8)**, **ringfence-init(8)**, **ringfence-apply(8)**
`, date.Format("Jan 2006"), version, policyFile, "```\n"+strings.TrimSpace(examples.Reference)+"\n```")
	return md2man.Render([]byte(text))
}
