// Package phone writes the settings that make a phone refuse calls that do not
// come from its provider: for phones behind somebody else's router, where no
// firewall stands in between.
//
// What the settings are is data, one file a maker: how the maker's files are
// written, which families of phones there are, and each setting with its source.
// The package reads and checks those files, chooses what a model with its
// firmware needs, and writes it in the maker's own form. It is pure; where the
// files come from and where the text goes is the caller's business.
package phone

// Maker is what is known about the phones of one maker.
type Maker struct {
	Name string `yaml:"-"` // of its file
	// Title is the name that people know, Also are other names of the maker.
	Title string   `yaml:"title"`
	Also  []string `yaml:"also"`
	// Prefixes are words that people write before a model's name.
	Prefixes []string          `yaml:"prefixes"`
	Firmware Firmware          `yaml:"firmware"`
	Web      string            `yaml:"web"` // the way to the phone's web page
	Sources  map[string]Source `yaml:"sources"`
	File     File              `yaml:"file"`
	Caveats  []string          `yaml:"caveats"`
	// Settings stand in the order of their worth: what refuses strangers first,
	// what only hides last.
	Settings []Setting `yaml:"settings"`
	Families []Family  `yaml:"families"`
}

// Firmware is how the maker counts its versions.
type Firmware struct {
	Example string `yaml:"example"`
	// Part is which of four numbers, counted from 1, is the version by which
	// settings differ; 0 = all of them, the first first.
	Part int `yaml:"part"`
}

// Source is where a datum stands.
type Source struct {
	Title string `yaml:"title" json:"title"`
	URL   string `yaml:"url" json:"url"`
}

// File is how the maker's files for provisioning are written. In what it holds,
// {key}, {value}, {group} and {text} stand for what their names say, and {tag}
// for the first word of the key or the group.
type File struct {
	Name   string `yaml:"name"`
	Format Format `yaml:"format"`
	Head   string `yaml:"head"` // before everything else
	Tail   string `yaml:"tail"` // behind everything else
	Line   string `yaml:"line"` // one setting
	// Open and Close surround the settings of a group.
	Open    string `yaml:"open"`
	Close   string `yaml:"close"`
	Comment string `yaml:"comment"`
	Indent  int    `yaml:"indent"` // levels that everything between head and tail is indented by
	// Gather puts the comments of a group before it, because its settings are
	// attributes and nothing can stand between those.
	Gather bool `yaml:"gather"`
}

// Format is the form of a file.
type Format string

// The formats: lines of keys and values, XML, and text for reading, which no
// phone takes.
const (
	CFG  Format = "cfg"
	XML  Format = "xml"
	Text Format = "text"
)

// Setting is one line of a maker's file.
type Setting struct {
	Name string `yaml:"name"`
	// Families are those that have it; none = all that have a key for it.
	Families []string `yaml:"families"`
	// Models further limits it, with patterns as in Family; none = all.
	Models []string `yaml:"models"`
	// Per is "account" if it is written for each account.
	Per string `yaml:"per"`
	// Key is its name in the file; a family may have keys of its own. Without any
	// key it is on the phone's web page only. Group is the path of the elements
	// around it. {account} stands for the number of the account, from 1.
	Key   string   `yaml:"key"`
	Group []string `yaml:"group"`
	// Value is what is written. {port} and {port:hex} stand for the port that was
	// asked for, plus Step for each account behind the first.
	Value string `yaml:"value"`
	Step  int    `yaml:"step"`
	Means string `yaml:"means"`
	// When says when it is written: always if empty, else "port" or "no-port" (a
	// port was asked for, or not), or "srv" (the provider has SRV records).
	When string `yaml:"when"`
	// From and Before limit it to versions of the firmware; Firmware says the
	// same for people, and what sources disagree about.
	From     string `yaml:"from"`
	Before   string `yaml:"before"`
	Firmware string `yaml:"firmware"`
	// Optional is why one may not want it: the line is then written as a comment.
	Optional string `yaml:"optional"`
	// Unconfirmed is what nobody could confirm about it.
	Unconfirmed string     `yaml:"unconfirmed"`
	Sources     []string   `yaml:"sources"`
	Confidence  Confidence `yaml:"confidence"`
	// Page is the way to it on the phone's web page.
	Page string `yaml:"page"`
}

// Confidence is how sure a datum is.
type Confidence string

// The degrees of confidence: read at its source or the same in many places, a
// good source at second hand, one weak source.
const (
	High   Confidence = "high"
	Medium Confidence = "medium"
	Low    Confidence = "low"
)

// Family are the models of a maker that have the same settings.
type Family struct {
	Name  string `yaml:"name"`
	Title string `yaml:"title"`
	// Models are names in upper case without hyphens and spaces; a * at the end
	// makes a prefix. Where two families have a model, the first is meant.
	Models []string `yaml:"models"`
	// Accounts is the most accounts that the data covers.
	Accounts int `yaml:"accounts"`
	// From and Before limit the family to versions of the firmware.
	From   string `yaml:"from"`
	Before string `yaml:"before"`
	// Read is which firmware the settings were read for, where they do not say.
	Read string `yaml:"read"`
	// File replaces the maker's.
	File *File `yaml:"file"`
	// Keys are the family's own keys, by the setting's name: one, or one for each
	// account.
	Keys    map[string][]string `yaml:"keys"`
	Caveats []string            `yaml:"caveats"`
}
