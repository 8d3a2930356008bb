package fence

import (
	"fmt"
	"os"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// parsed is a policy that has been read, with the addresses that it lists.
type parsed struct {
	*policy.Policy
	listed *compile.Listed
}

// parse reads the policy of a generation. Each text is read only once.
func (f *session) parse(name, text string) (parsed, error) {
	if p, ok := f.parsed[text]; ok {
		return p, nil
	}
	p, err := catalog.Parse(name, []byte(text))
	if err != nil {
		return parsed{}, err
	}
	return f.keepParsed(text, p), nil
}

// parseEntry reads the policy of a generation.
func (f *session) parseEntry(e *journal.Entry) (parsed, error) {
	if p, ok := f.parsed[e.Policy]; ok {
		return p, nil
	}
	name := fmt.Sprintf("generation %d (%s)", e.Number, e.Source)
	if p, ok := formed(name, e.Form); ok {
		f.parsed[e.Policy] = p
		return p, nil
	}
	return f.parse(name, e.Policy)
}

// keepParsed notes that a text has been read.
func (f *session) keepParsed(text string, p *policy.Policy) parsed {
	read := parsed{p, compile.ListedIn(p)}
	f.parsed[text] = read
	return read
}

// programOf names this program among all that may have read a generation: another one may
// read the same text in another way.
func programOf(version string) string {
	info, err := os.Stat("/proc/self/exe")
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d %d", version, info.Size(), info.ModTime().UnixNano())
}

// formed reads what keepForm has stored of a generation's policy.
func formed(name string, form [][]byte) (parsed, bool) {
	if len(form) != 2 {
		return parsed{}, false
	}
	p := &policy.Policy{}
	if err := p.UnmarshalBinary(form[0]); err != nil {
		return parsed{}, false
	}
	listed, err := compile.ListedAs(p, form[1])
	if err != nil {
		return parsed{}, false
	}
	for i := range p.Doubts {
		p.Doubts[i].File = name
	}
	return parsed{p, listed}, true
}

// keepForm stores a generation as it was read, for the next run. Without that it only takes
// longer, so a failure is not an error.
func (f *session) keepForm(e *journal.Entry, s *site.Site) {
	program := f.program()
	if e.Form != nil || e.Sum == "" || program == "" || e.Policy != s.Text {
		return
	}
	written, err := s.Policy.AppendBinary(nil)
	if err == nil {
		err = f.KeepForm(e, program, written, ruleset.AppendSets(nil, s.Listed.Sets()))
	}
	if err != nil {
		f.Log.Debug("keep the policy as it was read", "error", err)
	}
}

// base returns what the large sets of the newest generation were made from. It returns nil
// where to find that out takes longer than to read the kernel.
func (f *session) base() *ruleset.Base {
	newest, err := f.Newest()
	if err != nil {
		return nil
	}
	if _, read := f.parsed[newest.Policy]; !read && newest.Form == nil {
		return nil
	}
	p, err := f.parseEntry(newest)
	if err != nil {
		return nil
	}
	return p.listed.Base()
}
