package phone_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/phone"
	"github.com/ringfence/ringfence/pkg/source"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestGoldens shows the output for phones of each maker, as a file or as text.
func TestGoldens(t *testing.T) {
	seen := map[string]bool{}
	for _, test := range []struct {
		file, maker string
		options     phone.Options
		steps       bool
		format      phone.Format
	}{
		{file: "yealink-t46s-86.cfg", maker: "yealink", options: phone.Options{Model: "T46S", Firmware: "86"}},
		{file: "yealink-any.cfg", maker: "yealink", options: phone.Options{Accounts: 2, Port: 5070, SRV: true}, steps: true},
		{file: "yealink-t28p-73.cfg", maker: "yealink", options: phone.Options{Model: "T28P", Firmware: "73", Accounts: 6}},
		{file: "grandstream-ht802.xml", maker: "grandstream", options: phone.Options{Model: "HT802", Accounts: 2}, steps: true},
		{file: "grandstream-gxp2160.xml", maker: "grandstream", options: phone.Options{Model: "GXP2160", Accounts: 6, Port: 5070}},
		{file: "grandstream-ghp630.xml", maker: "grandstream", options: phone.Options{Model: "GHP630"}},
		{file: "grandstream-gds3710.xml", maker: "grandstream", options: phone.Options{Model: "GDS3710"}},
		{file: "polycom-vvx450.xml", maker: "polycom", options: phone.Options{Model: "VVX 450", Port: 5070, SRV: true}, steps: true},
		{file: "polycom-ip650-3.3.xml", maker: "polycom", options: phone.Options{Model: "SoundPoint IP 650", Firmware: "3.3"}},
		{file: "snom-d785.xml", maker: "snom", options: phone.Options{Model: "D785", Port: 5070}, steps: true},
		{file: "snom-m100.xml", maker: "snom", options: phone.Options{Model: "M100 KLE", Accounts: 2, Port: 5070}},
		{file: "cisco-spa122.xml", maker: "cisco", options: phone.Options{Model: "SPA122", Accounts: 2}, steps: true},
		{file: "cisco-spa504g.xml", maker: "cisco", options: phone.Options{Model: "SPA504G", Port: 5070}},
		{file: "cisco-8841.xml", maker: "cisco", options: phone.Options{Model: "CP-8841"}},
		{file: "cisco-9861.xml", maker: "cisco", options: phone.Options{Model: "9861"}},
		{file: "fanvil-x4u.xml", maker: "fanvil", options: phone.Options{Model: "X4U", Accounts: 2, Port: 5070}, steps: true},
		{file: "fanvil-i30.xml", maker: "fanvil", options: phone.Options{Model: "i30", Port: 5070}},
		{file: "htek-uc923.xml", maker: "htek", options: phone.Options{Model: "UC923", Accounts: 4, Port: 5070}},
		{file: "htek-uc926u.xml", maker: "htek", options: phone.Options{Model: "UC926U"}},
		{file: "obi-d230.xml", maker: "obi", options: phone.Options{Model: "VVX D230", Accounts: 2, Port: 5070}, steps: true},
		{file: "obi-obi202.xml", maker: "obi", options: phone.Options{Model: "OBi202"}},
		{file: "aastra.cfg", maker: "aastra", options: phone.Options{SRV: true}, steps: true},
		{file: "aastra.txt", maker: "aastra", options: phone.Options{Model: "6867i"}, steps: true, format: phone.Text},
		{file: "gigaset-n720.xml", maker: "gigaset", options: phone.Options{Model: "N720", Port: 5070}},
		{file: "gigaset-n720-random.xml", maker: "gigaset", options: phone.Options{Model: "N720"}},
		{file: "gigaset-n870.txt", maker: "gigaset", options: phone.Options{Model: "N870", Port: 5070}},
		{file: "audiocodes.cfg", maker: "audiocodes", options: phone.Options{}},
	} {
		seen[test.maker] = true
		t.Run(test.file, func(t *testing.T) {
			s, err := maker(t, test.maker).Snippet(test.options)
			if err != nil {
				t.Fatal(err)
			}
			got := s.Write(test.steps)
			if test.format == phone.Text {
				got = s.Text(test.steps)
			}
			compareGolden(t, test.file, got)
		})
	}
	for _, m := range shipped(t) {
		if !seen[m.Name] {
			t.Errorf("no golden for %s", m.Name)
		}
	}
}

// TestKeys writes one table of what every family gets under which keys, short enough to
// compare with a maker's list: + is written, # is only a comment, ? is not confirmed.
func TestKeys(t *testing.T) {
	var out strings.Builder
	for _, m := range shipped(t) {
		for _, f := range m.Families {
			fmt.Fprintf(&out, "%s: %s\n", m.Name, f.Title)
			told := map[string]bool{}
			for _, port := range []int{0, 5070} {
				s, err := m.Snippet(phone.Options{Model: model(f), Firmware: f.From, Accounts: f.Accounts, Port: port, SRV: true})
				if err != nil {
					t.Fatal(err)
				}
				var lines []string
				last := ""
				for _, l := range s.Lines {
					sign := map[bool]string{true: "+", false: "#"}[l.Optional == ""] + map[bool]string{true: " ", false: "?"}[l.Unconfirmed == ""]
					key, value := strings.Join(append(l.Group, l.Key), " / "), " = "+l.Value
					if l.Key == "" {
						key, value = l.Page, ""
					}
					if l.Means == last {
						n := len(lines) - 1
						before, _, _ := strings.Cut(lines[n], " = ")
						lines[n] = before + ", " + key + value
						continue
					}
					last = l.Means
					lines = append(lines, sign+" "+key+value)
				}
				for _, line := range lines {
					if !told[line] {
						fmt.Fprintf(&out, "  %s\n", line)
					}
					told[line] = true
				}
			}
		}
	}
	compareGolden(t, "keys.txt", out.String())
}

// model returns a model of the family.
func model(f phone.Family) string { return strings.TrimSuffix(f.Models[0], "*") }

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", path, diff)
	}
}

// every calls f with the snippet of every family, with all options and with none.
func every(t *testing.T, f func(t *testing.T, s phone.Snippet)) {
	t.Helper()
	for _, m := range shipped(t) {
		for _, family := range m.Families {
			for _, o := range []phone.Options{{}, {Port: 5070}, {SRV: true, Accounts: family.Accounts}, {Port: 5070, SRV: true, Accounts: family.Accounts}} {
				o.Model, o.Firmware = model(family), family.From
				t.Run(fmt.Sprintf("%s %s %d %d %t", m.Name, o.Model, o.Accounts, o.Port, o.SRV), func(t *testing.T) {
					s, err := m.Snippet(o)
					if err != nil {
						t.Fatal(err)
					}
					f(t, s)
				})
			}
		}
	}
}

var keyAndValue = regexp.MustCompile(`^[a-zA-Z0-9._ ]+?( =|:) \S+$`)

// TestFilesAreWellFormed reads every file as its phone would. It must have the settings
// that are not optional, with their values, and no others.
func TestFilesAreWellFormed(t *testing.T) {
	every(t, func(t *testing.T, s phone.Snippet) {
		text := s.Write(true)
		var got []string
		switch {
		case !strings.HasSuffix(text, "\n"):
			t.Error("the last line is not ended")
		case len(s.Lines) == 0 || s.Lines[0].Key == "" && len(s.Lines) == 1:
			return // for people only
		case s.Format() == phone.XML:
			got = settingsOfXML(t, text)
		default:
			for line := range strings.Lines(text) {
				line = strings.TrimSuffix(line, "\n")
				if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
					continue
				}
				if !keyAndValue.MatchString(line) {
					t.Errorf("no key and value: %q", line)
				}
				got = append(got, line)
			}
		}
		n := 0
		for _, l := range s.Lines {
			if l.Key == "" {
				continue
			}
			key, attributes, _ := strings.Cut(l.Key, " para=")
			if s.Format() == phone.CFG {
				key = l.Key
			}
			found := false
			for _, line := range got {
				if strings.HasPrefix(line, key) && strings.HasSuffix(line, l.Value) && strings.Contains(line, strings.Trim(attributes, `"`)) {
					found = true
				}
			}
			if found != (l.Optional == "") {
				t.Errorf("%s = %s: in the file: %t, optional: %q", l.Key, l.Value, found, l.Optional)
			}
			if l.Optional == "" {
				n++
			}
		}
		if n != len(got) {
			t.Errorf("%d settings became %d: %q", n, len(got), got)
		}
	})
}

// settingsOfXML returns the settings of an XML file as "key … value", whichever
// elements and attributes they are in.
func settingsOfXML(t *testing.T, text string) []string {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // the text is ASCII
	var found, names []string
	depth, roots := 0, 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			depth++
			key := token.Name.Local
			switch key {
			case "VALIDATION":
				for _, a := range token.Attr {
					found = append(found, a.Name.Local+" "+a.Value)
				}
			case "SYMB_ITEM":
				found = append(found, token.Attr[0].Value+" "+token.Attr[2].Value)
			case "item":
				key = token.Attr[0].Value
			default:
				for _, a := range token.Attr {
					key += " " + a.Value
				}
			}
			names = append(names, key)
		case xml.CharData:
			value := strings.TrimSpace(string(token))
			if value == "" || len(names) == 0 {
				continue
			}
			switch last := names[len(names)-1]; last {
			case "Version", "version":
			case "N", "Name":
				if outer := names[len(names)-2]; outer == "P" || outer == "ParameterValueStruct" {
					found = append(found, value)
				}
			case "V", "Value":
				found[len(found)-1] += " " + value
			default:
				found = append(found, last+" "+value)
			}
		case xml.EndElement:
			depth--
			names = names[:len(names)-1]
		}
	}
	if roots != 1 || depth != 0 {
		t.Errorf("%d roots, %d elements are open at the end", roots, depth)
	}
	return found
}

// challenges matches settings that make a phone ask its caller for a password, which no
// provider sends.
var challenges = regexp.MustCompile(`(?i)method="?(digest|both|all)|digest\.realm|authenticateincominginvite|auth_invite|\bP2[3-8]46\b`)

// TestNeverChallenges: no setting asks callers for a password, and unconfirmed settings
// are marked as such.
func TestNeverChallenges(t *testing.T) {
	every(t, func(t *testing.T, s phone.Snippet) {
		for _, text := range []string{s.Write(true), s.Text(true)} {
			if found := challenges.FindString(text); found != "" {
				t.Errorf("%q is written", found)
			}
			for _, l := range s.Lines {
				flat := strings.Join(strings.Fields(strings.ReplaceAll(text, "#", " ")), " ")
				if l.Unconfirmed != "" && !strings.Contains(strings.ToLower(flat), strings.ToLower("not confirmed: "+l.Unconfirmed)) {
					t.Errorf("%q is not said to be unconfirmed", l.Key)
				}
				if l.Confidence == source.Low && l.Unconfirmed == "" {
					t.Errorf("%s has low confidence, and nothing is said of it", l.Key)
				}
				if len(l.Sources) == 0 || l.Means == "" || l.Firmware == "" {
					t.Errorf("%s: without source, meaning or firmware", l.Key)
				}
			}
		}
	})
}

// FuzzSnippet looks for a phone for which Snippet panics or the file is not valid.
func FuzzSnippet(f *testing.F) {
	for _, seed := range []string{"T46S", "HT802", "VVX--450", "T4-->x", "88<!--", ""} {
		f.Add("yealink", seed, "66.86.0.15", 2, 5070)
		f.Add("grandstream", seed, "1.0", 1, 0)
		f.Add("cisco", seed, "v1--2", -1, 65535)
	}
	makers := shipped(f)
	f.Fuzz(func(t *testing.T, name, model, firmware string, accounts, port int) {
		m, ok := phone.Find(makers, name)
		if !ok {
			return
		}
		s, err := m.Snippet(phone.Options{Model: model, Firmware: firmware, Accounts: accounts, Port: port, SRV: port%2 == 0})
		if err != nil {
			return
		}
		text := s.Write(true)
		s.Text(true)
		if s.Format() == phone.XML && strings.HasPrefix(text, "<") {
			settingsOfXML(t, text)
		}
	})
}
