package phone

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ringfence/ringfence/pkg/source"
)

// Options describe the phone that a snippet is for, and how it is used.
type Options struct {
	Model    string // "" = any, if all phones of the maker have the same settings
	Firmware string // "" = not known: lines for all versions
	Accounts int    // 0 = 1
	// Port is the SIP port that the phone itself shall listen on for its first account;
	// 0 = leave it as it is.
	Port int
	// SRV says that the provider has SRV or NAPTR records.
	SRV bool
}

// Snippet is what a phone needs.
type Snippet struct {
	Maker    string   `json:"maker"`
	Family   string   `json:"family"` // the title of the family
	Model    string   `json:"model,omitempty"`
	Firmware string   `json:"firmware,omitempty"`
	Accounts int      `json:"accounts"`
	File     string   `json:"file"` // the name of the file
	Caveats  []string `json:"caveats"`
	Lines    []Line   `json:"settings"`
	Sources  []Source `json:"sources"`
	Web      string   `json:"web,omitempty"`

	form     File
	title    string
	setsPort bool
	refuses  bool
}

// Line is one setting of a snippet.
type Line struct {
	Group []string `json:"group,omitempty"`
	// Key is empty for a setting that only the web page has.
	Key         string            `json:"key,omitempty"`
	Value       string            `json:"value,omitempty"`
	Means       string            `json:"means"`
	Firmware    string            `json:"firmware"`
	Optional    string            `json:"optional,omitempty"`
	Unconfirmed string            `json:"unconfirmed,omitempty"`
	Sources     []string          `json:"sources"` // the titles of the sources
	Confidence  source.Confidence `json:"confidence"`
	Page        string            `json:"page,omitempty"`

	account int
}

// Snippet chooses what a phone needs. The error says which of the options is not
// possible. It wraps ErrModel if no such phone is known.
func (m Maker) Snippet(o Options) (Snippet, error) {
	v, err := m.Firmware.parse(o.Firmware)
	if err != nil {
		return Snippet{}, err
	}
	o.Firmware = strings.TrimSpace(o.Firmware)
	f, err := m.family(o.Model, v)
	if err != nil {
		return Snippet{}, err
	}
	o.Accounts = max(o.Accounts, 1)
	last := o.Port
	for _, s := range m.Settings {
		last = max(last, o.Port+s.Step*(o.Accounts-1))
	}
	switch {
	case o.Accounts > f.Accounts:
		return Snippet{}, fmt.Errorf("%s (%s) has %d accounts as far as is known, and %d were asked for", m.Title, f.Title, f.Accounts, o.Accounts)
	case o.Port < 0 || last > 65535:
		return Snippet{}, fmt.Errorf("a phone cannot use port %d: choose one from 1024 to 65535", o.Port)
	}
	s := Snippet{
		Maker: m.Name, Family: f.Title, Model: m.modelText(o.Model), Firmware: o.Firmware, Accounts: o.Accounts, Web: m.Web,
		Caveats: append(slices.Clone(f.Caveats), m.Caveats...), Lines: []Line{}, Sources: []Source{},
		form: m.File, title: m.Title,
	}
	if f.File != nil {
		s.form = *f.File
	}
	s.File = s.form.Name
	for _, setting := range m.Settings {
		if f.has(setting) && setting.applies(m, v, o) {
			s.add(m, f, setting, o)
		}
	}
	return s, nil
}

// applies reports whether a setting is written with these options.
func (s Setting) applies(m Maker, v version, o Options) bool {
	switch s.When {
	case "port":
		if o.Port == 0 {
			return false
		}
	case "no-port":
		if o.Port != 0 {
			return false
		}
	case "srv":
		if !o.SRV {
			return false
		}
	}
	if o.Model != "" && len(s.Models) > 0 && !matches(s.Models, m.model(o.Model)) {
		return false
	}
	return v.within(s.From, s.Before)
}

func (s *Snippet) add(m Maker, f Family, setting Setting, o Options) {
	accounts := 1
	if setting.Per == "account" {
		accounts = o.Accounts
	}
	l := Line{
		Means: setting.Means, Firmware: setting.Firmware, Optional: setting.Optional, Unconfirmed: setting.Unconfirmed, Confidence: setting.Confidence,
	}
	if l.Firmware == "" {
		l.Firmware = f.Read
	}
	s.setsPort = s.setsPort || setting.When == "port"
	s.refuses = s.refuses || setting.When == "" && setting.Optional == "" && setting.Unconfirmed == ""
	for _, name := range setting.Sources {
		source := m.Sources[name]
		l.Sources = append(l.Sources, source.Title)
		if !slices.Contains(s.Sources, source) {
			s.Sources = append(s.Sources, source)
		}
	}
	for account := 1; account <= accounts; account++ {
		port := o.Port + setting.Step*(account-1)
		fill := strings.NewReplacer("{account}", strconv.Itoa(account), "{port}", strconv.Itoa(port), "{port:hex}", strconv.FormatInt(int64(port), 16)).Replace
		one := l
		one.account = account
		one.Key, one.Value, one.Page, one.Means = fill(f.key(setting, account)), fill(setting.Value), fill(setting.Page), fill(setting.Means)
		for _, group := range setting.Group {
			one.Group = append(one.Group, fill(group))
		}
		s.Lines = append(s.Lines, one)
	}
}

// Format returns the format of the snippet's file.
func (s Snippet) Format() Format { return s.form.Format }

// SetsPort reports whether the snippet, or a step on the web page, sets the port that
// was asked for.
func (s Snippet) SetsPort() bool { return s.setsPort }

// Refuses reports whether any confirmed setting of the snippet makes the phone refuse
// strangers. Another port only hides the phone, and optional settings are not written,
// so neither counts.
func (s Snippet) Refuses() bool { return s.refuses }
