package signature_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// long returns a signature whose text has nothing in common with the others.
func long(i int, match signature.Match) signature.Signature {
	return signature.Signature{
		Name: fmt.Sprintf("signature-%d", i), Header: "from", Match: match, Value: fmt.Sprintf("%d-%s", i, strings.Repeat("x", 30)), Class: signature.Ban,
	}
}

// TestManySignatures: a thousand signatures fit, and each is still recognised.
func TestManySignatures(t *testing.T) {
	list := signaturetest.Many(1000)
	a := compiled(t, list)
	for i, s := range list {
		message := []byte(request(s.Header + ": " + s.Value))
		if a.Match(message).Signature == "" {
			t.Errorf("%+v is not recognised", s)
		}
		if i%20 == 0 {
			agree(t, a, message)
		}
	}
}

func TestTooMany(t *testing.T) {
	var states []signature.Signature
	for i := range 600 {
		states = append(states, long(i, signature.Exact))
	}
	_, err := signature.Compile(states, nil)
	if !errors.Is(err, signature.ErrTooMany) {
		t.Fatalf("600 long signatures: %v", err)
	}
	t.Log(err)
	if !strings.Contains(err.Error(), "16384 states") {
		t.Errorf("the error does not name the limit: %v", err)
	}
	// The error names the first signature that did not fit.
	_, rest, _ := strings.Cut(err.Error(), `signature "signature-`)
	var crossed int
	fmt.Sscan(rest[:strings.IndexByte(rest, '"')], &crossed)
	if _, err := signature.Compile(states[:crossed], nil); err != nil {
		t.Errorf("without %d: %v", crossed, err)
	}
	if _, err := signature.Compile(states[:crossed+1], nil); err == nil {
		t.Errorf("with %d there is still room", crossed)
	}

	var bytes []signature.Signature
	for i := range 100 {
		s := long(i, signature.Prefix)
		s.Value = string([]byte{'a', byte(0x80 + i)})
		bytes = append(bytes, s)
	}
	_, err = signature.Compile(bytes, nil)
	if !errors.Is(err, signature.ErrTooMany) || !strings.Contains(err.Error(), "64 different bytes") || !strings.Contains(err.Error(), `signature "signature-`) {
		t.Errorf("a hundred different bytes: %v", err)
	}
	_, err = signature.Compile(bytes[:40], []string{strings.Repeat("abcdefghijklmnopqrstuvwxyz0123456789", 2)})
	if !errors.Is(err, signature.ErrTooMany) || !strings.Contains(err.Error(), `required User-Agent "abc`) {
		t.Errorf("too many bytes with a required User-Agent: %v", err)
	}
	_, err = signature.Compile(states[:300], []string{strings.Repeat("x", 8000)})
	if !errors.Is(err, signature.ErrTooMany) || !strings.Contains(err.Error(), `required User-Agent "xxx`) {
		t.Errorf("too many states with a required User-Agent: %v", err)
	}
}

func TestMistakes(t *testing.T) {
	good := signature.Signature{Name: "a", Header: "from", Match: signature.Exact, Value: "x", Class: signature.Ban}
	with := func(change func(*signature.Signature)) signature.Signature {
		s := good
		change(&s)
		return s
	}
	for _, test := range []struct {
		list     []signature.Signature
		required []string
		want     string
	}{
		{[]signature.Signature{good}, []string{"Yealink"}, ""},
		{[]signature.Signature{with(func(s *signature.Signature) { s.Name = "" })}, nil, "a signature without a name"},
		{[]signature.Signature{with(func(s *signature.Signature) { s.Name = strings.Repeat("n", 65) })}, nil, `signature "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn": a name has at most 64 bytes`},
		{[]signature.Signature{with(func(s *signature.Signature) { s.Header = "Us er" })}, nil, `signature "a": "Us er" is not the name of a header`},
		{[]signature.Signature{with(func(s *signature.Signature) { s.Match = "like" })}, nil, `signature "a": match is "like", want contains, prefix or exact`},
		{[]signature.Signature{with(func(s *signature.Signature) { s.Class = "" })}, nil, `signature "a": class is "", want ban or label`},
		{[]signature.Signature{with(func(s *signature.Signature) { s.Value = "" })}, nil, `signature "a": an empty value would match every message`},
		{[]signature.Signature{with(func(s *signature.Signature) { s.Value = " x" })}, nil, `signature "a": " x" has white space at its ends, which no header's value has`},
		{[]signature.Signature{with(func(s *signature.Signature) { s.Value = "a\nb" })}, nil, `signature "a": "a\nb" has a control character at byte 2`},
		{[]signature.Signature{good, with(func(s *signature.Signature) { s.Value = "y" })}, nil, `signature "a" occurs twice`},
		{
			[]signature.Signature{with(func(s *signature.Signature) {
				s.All = []signature.Condition{{Header: "from", Match: signature.Exact, Value: "x"}, {Header: "to", Match: signature.Exact, Value: "y"}}
			})}, nil, `signature "a": it has a header of its own beside those of its conditions`,
		},
		{nil, []string{"\x7f"}, `required User-Agent: "\x7f" has a control character at byte 1`},
		{[]signature.Signature{with(func(s *signature.Signature) { s.Value = "" })}, []string{""}, "signature \"a\": an empty value would match every message\nrequired User-Agent: an empty value would match every message"},
	} {
		_, err := signature.Compile(test.list, test.required)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// TestSameTable: the result of compiling depends on the signatures alone.
func TestSameTable(t *testing.T) {
	for _, list := range [][]signature.Signature{signaturetest.Shipped(), signaturetest.Many(200)} {
		first := compiled(t, list, "Yealink")
		for range 3 {
			again := compiled(t, list, "Yealink")
			if diff := cmp.Diff(first.Table(), again.Table()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(first.Sieve(), again.Sieve()); diff != "" {
				t.Error(diff)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	a := compiled(t, signaturetest.Few(), "Yealink")
	message := "INVITE sip:thisisthecanary@pbx SIP/2.0\r\nf:  \"sipvicious\"\r\n <sip:100@1.1.1.1>\r\nUser-Agent: Test\r\n Agent\r\ns: x\r\n\r\nUser-Agent: smap\r\n"
	e := a.Explain([]byte(message))
	var got []string
	for _, f := range e.Findings {
		got = append(got, fmt.Sprintf("%d:%d %s %s: %q", f.Line, f.Column, f.Signature.Name, f.Header, message[f.From:f.To]))
	}
	want := []string{
		"4:13 agent User-Agent: \"Test\\r\\n Agent\\r\\n\"",
		"4:15 agents User-Agent: \"st\\r\\n Agent\"",
		"2:5 vicious f: \"\\\"sipvicious\\\"\"",
		"3:3 hundred f: \"sip:100@1.1.1.1\"",
		"1:8 canary : \"sip:thisisthecanary@\"",
	}
	// "st Agent" is not "st agents".
	want = append(want[:1], want[2:]...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !e.Request || e.Allowed != "" || e.Result.Signature != "canary" || e.Result.Mark != signature.Scanner {
		t.Errorf("%+v", e)
	}
	if e := a.Explain([]byte("SIP/2.0 200 OK\r\nUser-Agent: smap\r\n\r\n")); e.Request || e.Findings != nil {
		t.Errorf("a response: %+v", e)
	}
	if e := a.Explain([]byte(request("User-Agent: yealink T46"))); e.Allowed != "Yealink" || e.Result.Mark != signature.Allowed {
		t.Errorf("a required User-Agent: %+v", e)
	}
}

// BenchmarkCompile times compiling signatures to the table and the sieve.
func BenchmarkCompile(b *testing.B) {
	for name, list := range map[string][]signature.Signature{"shipped": signaturetest.Shipped(), "1000": signaturetest.Many(1000)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				a, err := signature.Compile(list, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(a.Table().Next)/signature.MaxClasses), "states")
			}
		})
	}
}

// BenchmarkMatch times the automaton in Go. It says nothing of the kernel's program,
// which uses the sieve as well.
func BenchmarkMatch(b *testing.B) {
	a := compiled(b, signaturetest.Shipped())
	for name, message := range map[string]string{"svmap": signaturetest.Svmap, "invite": signaturetest.Invite} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				a.Match([]byte(message))
			}
		})
	}
}

// TestTooManyConditions: each signature with several conditions takes room of its own.
func TestTooManyConditions(t *testing.T) {
	header := func(i int) signature.Condition {
		return signature.Condition{Header: "user-agent", Match: signature.Exact, Value: fmt.Sprintf("agent-%d", i)}
	}
	via := signature.Condition{Header: "via", Match: signature.Contains, Value: "branch=z9hG4bK-x"}
	var list []signature.Signature
	for i := range 63 {
		list = append(list, signature.New(fmt.Sprintf("signature-%d", i), signature.Ban, header(i), via))
	}
	a := compiled(t, list)
	if got := agree(t, a, []byte(request("User-Agent: agent-62", "v: x;branch=z9hG4bK-x"))); got.Signature != "signature-62" {
		t.Errorf("the last of 63 is %v", got)
	}
	list = append(list, signature.New("signature-63", signature.Ban, header(63), via))
	if _, err := signature.Compile(list, nil); !errors.Is(err, signature.ErrTooMany) || !strings.Contains(err.Error(), `"signature-63"`) {
		t.Errorf("65 conditions: %v", err)
	}
	list = list[:0]
	for i := range 65 {
		list = append(list, signature.New(fmt.Sprintf("signature-%d", i), signature.Ban, header(i%3), header(i%2), via))
	}
	if _, err := signature.Compile(list, nil); !errors.Is(err, signature.ErrTooMany) || !strings.Contains(err.Error(), `"signature-64"`) {
		t.Errorf("65 signatures: %v", err)
	}
	broken := signature.New("x", signature.Ban, via, signature.Condition{Header: "a b", Match: signature.Exact, Value: "x"})
	if _, err := signature.Compile([]signature.Signature{broken}, nil); err == nil || err.Error() != `signature "x": "a b" is not the name of a header` {
		t.Errorf("a broken condition: %v", err)
	}
}
