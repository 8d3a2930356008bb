package site_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// program is a classifier that is only a name.
type program string

func (program) Prepare() error { return nil }

func (p program) On(interfaces []string) ruleset.Classifier {
	on := ruleset.Classifier{}
	for _, name := range interfaces {
		on[name] = string(p)
	}
	return on
}

// router is a host that forwards between the internet and a network of phones.
func router() ruleset.Host {
	return ruleset.Host{
		Forwards: true, Outside: []string{"wan"}, Engine: "bpf",
		Interfaces: []ruleset.Interface{
			{Name: "lan", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}},
			{Name: "wan", Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.2/24")}},
		},
	}
}

func newSite(t *testing.T, text string, h ruleset.Host) *site.Site {
	t.Helper()
	p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\n"+text), policy.Available{
		SignatureLists: []string{"scanners"}, Engines: []policy.Engine{policy.EngineBPF},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &site.Site{Policy: p, Host: h, Classifier: site.Classifier{Program: program("ringfence:1")}}
	s.Remember(resolve.NewMemory(), resolve.Moment{Time: time.Now()})
	return s
}

func codes(notices []notice.Notice) (list []notice.Code) {
	for _, n := range notices {
		list = append(list, n.Code)
	}
	return list
}

func TestClassified(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{"", []string{"wan"}},
		{"unknown: {action: accept}\n", []string{"lan", "wan"}},
		{"interfaces: [lan]\n", []string{"lan"}},
	} {
		if got := newSite(t, test.text, router()).Classified(); !slices.Equal(got, test.want) {
			t.Errorf("%q: %v are classified, want %v", test.text, got, test.want)
		}
	}
}

// TestClassify: an interface that another program has taken does not keep the
// classifier from the others, unless the policy cannot do without it.
func TestClassify(t *testing.T) {
	taken := map[string]error{"wan": errors.New("another program's filter is attached there")}
	s := newSite(t, "unknown: {action: accept}\n", router())
	s.Classify(taken)
	if got := s.Classifier.Desired.Interfaces(); !slices.Equal(got, []string{"lan"}) || s.ClassifierObstacle() == nil {
		t.Errorf("the classifier is wanted on %v (%v)", got, s.ClassifierObstacle())
	}
	if got := codes(site.ClassifierWarnings(s)); !slices.Equal(got, []notice.Code{notice.ClassifierUnavailable}) {
		t.Errorf("warnings: %v", got)
	}
	s = newSite(t, "", router())
	if s.Classify(taken); s.Host.Engine != "" || s.Classifier.Desired != nil {
		t.Errorf("with every interface taken the engine is %q", s.Host.Engine)
	}
	s = newSite(t, "signatures: {engine: bpf}\n", router())
	if s.Classify(nil); len(s.Classifier.Desired) != 1 {
		t.Errorf("the classifier is wanted on %v", s.Classifier.Desired)
	}
}

// TestKeepAttached: what is attached stays if nothing else can be, unless it was made
// for another policy.
func TestKeepAttached(t *testing.T) {
	old := ruleset.Classifier{"wan": "ringfence:0"}
	s := newSite(t, "", router())
	s.Classify(nil)
	if s.KeepAttached(old, true) || s.KeepAttached(ruleset.Classifier{}, false) {
		t.Error("the classifier of another policy stays, or one that is not there")
	}
	if !s.KeepAttached(old, false) {
		t.Error("the classifier of another version does not stay")
	}
	if s.Classify(nil); !s.Classifier.Desired.Equal(old) {
		t.Errorf("the classifier is wanted as %v, want %v", s.Classifier.Desired, old)
	}
}

func TestWarnings(t *testing.T) {
	s := newSite(t, "interfaces: [lan, ppp*]\n", router())
	if got, want := codes(s.Warnings()), []notice.Code{notice.NobodyAllowed}; !slices.Equal(got, want) {
		t.Errorf("warnings %v, want %v", got, want)
	}
	if got := codes(site.CutWarnings(s)); !slices.Equal(got, []notice.Code{notice.CutInside}) {
		t.Errorf("warnings of cut networks: %v", got)
	}
	if n := len(s.Guards(site.Allowances{})); n != 3 {
		t.Errorf("%d guards, want 3", n)
	}
	if allow := (site.Allowances{}).As(s); len(allow.Cut) != 1 {
		t.Errorf("allowed as before: %+v", allow)
	}
}
