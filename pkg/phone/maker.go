// Package phone writes the settings that make a phone refuse calls that do not come
// from its provider. They are for phones behind a router that is not the site's own,
// where no firewall protects them.
//
// The settings are data, one file for each maker: the format of the maker's files, the
// families of phones, and each setting with its source. The package reads and checks
// these files, chooses what a model with its firmware needs, and writes it in the
// maker's format. It is pure: the caller decides where the files come from and where
// the text goes.
package phone

import "github.com/ringfence/ringfence/pkg/source"

// Maker is what is known about the phones of one maker.
type Maker struct {
	Name string `yaml:"-"` // the name of its file
	// Title is the name to print. Also lists other names of the maker.
	Title string   `yaml:"title"`
	Also  []string `yaml:"also"`
	// Prefixes are words that people write before a model's name.
	Prefixes []string          `yaml:"prefixes"`
	Firmware Firmware          `yaml:"firmware"`
	Web      string            `yaml:"web"` // how to reach the phone's web page
	Sources  map[string]Source `yaml:"sources"`
	File     File              `yaml:"file"`
	Caveats  []string          `yaml:"caveats"`
	// Settings are sorted by their effect: first those that refuse strangers, last
	// those that only hide the phone.
	Settings []Setting `yaml:"settings"`
	Families []Family  `yaml:"families"`
}

// Firmware describes how the maker numbers its versions.
type Firmware struct {
	Example string `yaml:"example"`
	// Part says which of four numbers, counted from 1, is the version by which settings
	// differ. 0 means all of them, the first number being the most significant.
	Part int `yaml:"part"`
}

// Source is a document that settings were taken from.
type Source struct {
	Title string `yaml:"title" json:"title"`
	URL   string `yaml:"url" json:"url"`
}

// File is the format of the maker's provisioning files. In its texts {key}, {value},
// {group} and {text} are replaced by what their names say, and {tag} by the first word
// of the key or group.
type File struct {
	Name   string `yaml:"name"`
	Format Format `yaml:"format"`
	Head   string `yaml:"head"` // before everything else
	Tail   string `yaml:"tail"` // after everything else
	Line   string `yaml:"line"` // one setting
	// Open and Close enclose the settings of a group.
	Open    string `yaml:"open"`
	Close   string `yaml:"close"`
	Comment string `yaml:"comment"`
	Indent  int    `yaml:"indent"` // levels by which everything between head and tail is indented
	// Gather puts the comments of a group before the group, because its settings are
	// attributes, with no room for comments between them.
	Gather bool `yaml:"gather"`
}

// Format is the form of a file.
type Format string

// The formats: lines of keys and values, XML, and plain text for people, which no phone
// reads.
const (
	CFG  Format = "cfg"
	XML  Format = "xml"
	Text Format = "text"
)

// Setting is one line of a maker's file.
type Setting struct {
	Name string `yaml:"name"`
	// Families are the families that have it; none = all that have a key for it.
	Families []string `yaml:"families"`
	// Models limits it further, with patterns as in Family; none = all.
	Models []string `yaml:"models"`
	// Per is "account" if it is written once for each account.
	Per string `yaml:"per"`
	// Key is its name in the file. A family may have its own keys. A setting without
	// any key can only be made on the phone's web page. Group is the path of the
	// elements around it. {account} is replaced by the number of the account, counted
	// from 1.
	Key   string   `yaml:"key"`
	Group []string `yaml:"group"`
	// Value is what is written. {port} and {port:hex} are replaced by the port that was
	// asked for, plus Step for each account after the first.
	Value string `yaml:"value"`
	Step  int    `yaml:"step"`
	Means string `yaml:"means"`
	// When says when it is written: always if empty, with "port" or "no-port" if a port
	// was asked for or not, with "srv" if the provider has SRV records.
	When string `yaml:"when"`
	// From and Before limit it to versions of the firmware. Firmware says the same for
	// people, and where sources disagree.
	From     string `yaml:"from"`
	Before   string `yaml:"before"`
	Firmware string `yaml:"firmware"`
	// Optional is a reason not to want it. The line is then written as a comment.
	Optional string `yaml:"optional"`
	// Unconfirmed is what could not be confirmed about it.
	Unconfirmed string            `yaml:"unconfirmed"`
	Sources     []string          `yaml:"sources"`
	Confidence  source.Confidence `yaml:"confidence"`
	// Page is where to find it on the phone's web page.
	Page string `yaml:"page"`
}

// Family is a group of models of a maker that have the same settings.
type Family struct {
	Name  string `yaml:"name"`
	Title string `yaml:"title"`
	// Models are names in upper case without hyphens and spaces. A * at the end makes a
	// prefix. If two families have a model, the first one is used.
	Models []string `yaml:"models"`
	// Accounts is the largest number of accounts that the data covers.
	Accounts int `yaml:"accounts"`
	// From and Before limit the family to versions of the firmware.
	From   string `yaml:"from"`
	Before string `yaml:"before"`
	// Read is the firmware that the settings were checked with, where they do not say.
	Read string `yaml:"read"`
	// File replaces the maker's file format.
	File *File `yaml:"file"`
	// Keys maps the name of a setting to the family's own keys: a single one, or one
	// for each account.
	Keys    map[string][]string `yaml:"keys"`
	Caveats []string            `yaml:"caveats"`
}
