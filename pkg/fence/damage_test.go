package fence_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// banned is a ban that a rule has made.
func banned(address string) backend.Banned {
	return backend.Banned{Address: netip.MustParseAddr(address), Left: time.Hour}
}

// damage cuts a file of the journal.
func damage(t *testing.T, f *fence.Fence, name string) {
	t.Helper()
	labtest.Must(t, os.Truncate(filepath.Join(filepath.Dir(f.Reconciler().AddressesFile()), "journal", name), 20))
}

// TestHistory: history says of each generation what its policy and its rules say otherwise
// than the one before, and one generation can be looked at with the reasons of its lines.
func TestHistory(t *testing.T) {
	f, _ := newFence(t, &plantest.Kernel{})
	if _, err := f.View().Generation(1); err == nil {
		t.Error("there is a generation")
	}
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	apply(t, f, secondPolicy+"unknown: {allow_replies: true}\n", fence.ApplyOptions{})
	g, err := f.View().Generation(2)
	labtest.Must(t, err)
	if got := strings.Join(g.PolicyChanges, "; "); got != "unknown.allow_replies: false -> true; providers: acme addresses: [203.0.113.5] -> [203.0.113.6]" {
		t.Errorf("the policy has changed by %q", got)
	}
	reasons := map[string]string{}
	for _, c := range g.Plan.Changes {
		reasons[strings.TrimSpace(c.Name+" "+c.Value)] = c.Reason
	}
	for line, want := range map[string]string{
		"providers4 203.0.113.5": "was acme: addresses", "providers4 203.0.113.6": "acme: addresses", "sip": "unknown.allow_replies is true, it was false",
	} {
		if got, ok := reasons[line]; ok && got != want || !ok && line != "sip" {
			t.Errorf("%s is there because %q, want %q", line, got, want)
		}
	}
	first, err := f.View().Generation(1)
	labtest.Must(t, err)
	if first.InForce || !g.InForce || first.Plan == nil || first.Entry.Policy != firstPolicy {
		t.Errorf("the first: %+v", first)
	}
	if _, err := f.View().Generation(7); err == nil || err.Error() != "there is no generation 7: those from 1 to 2 are stored" || notice.Hint(err) != "ringfence history shows them" {
		t.Errorf("one that there is not: %v (%s)", err, notice.Hint(err))
	}

	damage(t, f, "00000001.json")
	all, err := f.View().History()
	labtest.Must(t, err)
	if len(all) != 2 || all[0].Damaged == nil || all[1].Plan != nil || all[1].Damaged != nil {
		t.Errorf("with a damaged one: %+v", all)
	}
	if _, err := f.View().Generation(1); err == nil || !strings.Contains(err.Error(), "00000001.json is damaged") {
		t.Errorf("a damaged one: %v", err)
	}
}

// TestUpWithDamage: at boot an older generation is better than none, with a warning.
func TestUpWithDamage(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, heard := newFence(t, kernel)
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	apply(t, f, secondPolicy, fence.ApplyOptions{})
	kernel.Change(func(s *ruleset.State) { *s = ruleset.State{GenID: s.GenID} })
	damage(t, f, "00000002.json")
	r, err := f.Up(t.Context())
	labtest.Must(t, err)
	state, err := kernel.Observe(t.Context())
	labtest.Must(t, err)
	if r.Generation != 1 || !state.Sets["providers4"].Contains(provider) {
		t.Errorf("generation %d is up, with %v", r.Generation, state.Sets["providers4"].Elements)
	}
	if len(*heard) == 0 || (*heard)[0].Code != notice.StateDamaged || !strings.HasSuffix((*heard)[0].Text, "; using an older generation") {
		t.Errorf("notices: %+v", *heard)
	}
	if _, err := f.View().Status(t.Context()); err == nil {
		t.Error("status says nothing of a damaged generation")
	}
	damage(t, f, "00000001.json")
	if _, err := f.Up(t.Context()); err == nil {
		t.Error("a fence is up of which nothing can be read")
	}
}

// TestRollbackTo: rollback takes the generation that is named, passes over a damaged one,
// and says where there is nothing to go back to.
func TestRollbackTo(t *testing.T) {
	f, heard := newFence(t, &plantest.Kernel{})
	back := func(n int) (*fence.RolledBack, error) { return f.Rollback(t.Context(), n, nil, 0) }
	if _, err := back(0); err == nil || err.Error() != "there is no generation yet" {
		t.Errorf("of none: %v", err)
	}
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	if _, err := back(0); err == nil || notice.Hint(err) != "ringfence down removes the fence" {
		t.Errorf("of one: %v", err)
	}
	apply(t, f, secondPolicy, fence.ApplyOptions{})
	apply(t, f, firstPolicy+"trusted: {addresses: [192.0.2.9]}\n", fence.ApplyOptions{})
	if _, err := back(9); err == nil || err.Error() != "there is no generation 9: those from 1 to 3 are stored" {
		t.Errorf("to one that there is not: %v", err)
	}
	damage(t, f, "00000002.json")
	if _, err := back(2); err == nil || notice.Hint(err) != "ringfence history shows the generations that can be read" {
		t.Errorf("to a damaged one: %v", err)
	}
	r, err := back(0)
	labtest.Must(t, err)
	if r.Target != 1 || r.Generation != 4 || r.Text != firstPolicy || r.Source != "policy.yaml" {
		t.Errorf("to the one before: %+v", r)
	}
	if len(*heard) == 0 || !strings.Contains((*heard)[0].Text, "00000002.json is damaged") {
		t.Errorf("notices: %+v", *heard)
	}
}

// TestStatusOf: without a generation a table is none of ringfence's; one that is begun
// is known as such; names that are left out are listed.
func TestStatusOf(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, _ := newFence(t, kernel)
	s, err := f.View().Status(t.Context())
	labtest.Must(t, err)
	if s.Generation != 0 || s.Table || len(s.Alarms) > 0 {
		t.Errorf("of nothing: %+v", s)
	}
	kernel.Change(func(s *ruleset.State) { s.Exists = true })
	s, err = f.View().Status(t.Context())
	labtest.Must(t, err)
	if !s.Table || len(s.Alarms) != 1 || s.Alarms[0].Kind != "no-generation" {
		t.Errorf("of a table without a generation: %+v", s.Alarms)
	}
	if _, err := f.Apply(t.Context(), policyOf(t, firstPolicy), fence.ApplyOptions{}); err == nil || !strings.Contains(err.Error(), "foreign-table") {
		t.Errorf("apply over another program's table: %v", err)
	}
	if _, err := f.Down(t.Context(), false); err == nil || !strings.Contains(err.Error(), "foreign-table") {
		t.Errorf("down of another program's table: %v", err)
	}
	apply(t, f, firstPolicy, fence.ApplyOptions{Adopt: true})
	kernel.Count("allowed_provider", 7)
	kernel.Count("allowed_trusted", 3)
	if n, err := f.LetThrough(t.Context()); n != 10 || err != nil {
		t.Errorf("%d packets were let through (%v)", n, err)
	}
	s, err = f.View().Status(t.Context())
	labtest.Must(t, err)
	if s.Generation != 1 || s.Differences != 0 || s.Counters["allowed_provider"] != 7 || len(s.Providers) != 1 || s.Providers[0].Name != "acme" {
		t.Errorf("of a fence: %+v", s)
	}
	_, err = f.Down(t.Context(), false)
	labtest.Must(t, err)
	if s, err = f.View().Status(t.Context()); err != nil || s.Down == nil || s.Table {
		t.Errorf("after down: %+v, %v", s, err)
	}
}

// TestCheckProvider: a user's file is checked as the shipped ones are, and its entry in a
// policy compiles.
func TestCheckProvider(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		labtest.Must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	const acme = "title: Acme\nkind: dns\nregistrars: [sip.acme.example]\nsource: https://acme.example\nchecked: \"2026-11-22\"\nconfidence: high\n"
	p, err := fence.CheckProvider(write("acme.yaml", acme))
	if err != nil || p.Name != "acme" || len(p.Registrars) != 1 {
		t.Errorf("a good file: %+v, %v", p, err)
	}
	for name, test := range map[string]struct{ path, want string }{
		"a mistake":    {write("wrong.yaml", strings.Replace(acme, "dns", "cidr", 1)), "wrong.yaml:2:7: kind is \"cidr\", which does not agree"},
		"no file":      {filepath.Join(folder, "none.yaml"), "read provider: open "},
		"a folder":     {folder, "read provider: "},
		"a large file": {write("large.yaml", acme+"#"+strings.Repeat("x", 1<<20)), "large.yaml is larger than 1 MiB"},
	} {
		if _, err := fence.CheckProvider(test.path); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// TestWritePolicy: init writes a file that all may read and only its owner may write, and
// never over another one.
func TestWritePolicy(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "policy.yaml")
	labtest.Must(t, fence.NoPolicy(path))
	labtest.Must(t, fence.WritePolicy(path, firstPolicy))
	text, err := os.ReadFile(path)
	labtest.Must(t, err)
	info, err := os.Stat(path)
	labtest.Must(t, err)
	if string(text) != firstPolicy || info.Mode().Perm() != 0o644 {
		t.Errorf("it has mode %o and says %q", info.Mode().Perm(), text)
	}
	for name, err := range map[string]error{"NoPolicy": fence.NoPolicy(path), "WritePolicy": fence.WritePolicy(path, "other")} {
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s over a file: %v", name, err)
		}
	}
	labtest.Must(t, os.Symlink(filepath.Join(folder, "elsewhere"), path+".link"))
	if err := fence.NoPolicy(path + ".link"); err == nil {
		t.Error("a dangling link is no policy")
	}
	if err := fence.WritePolicy(filepath.Join(folder, "none", "policy.yaml"), "x"); err == nil || notice.Hint(err) != "to make it: mkdir -p "+filepath.Join(folder, "none") {
		t.Errorf("without a folder: %v (%s)", err, notice.Hint(err))
	}
	if again, err := os.ReadFile(path); err != nil || string(again) != firstPolicy {
		t.Errorf("the file says now %q (%v)", again, err)
	}
}

// TestCallingUser: generations name who called sudo, and nothing that a terminal obeys.
func TestCallingUser(t *testing.T) {
	for sudo, want := range map[string]string{"alice": "alice", "al\x1b[31mice\n": "al[31mice", strings.Repeat("a", 100): strings.Repeat("a", 64)} {
		t.Setenv("SUDO_USER", sudo)
		if got := fence.CallingUser(); got != want {
			t.Errorf("%q is %q, want %q", sudo, got, want)
		}
	}
	t.Setenv("SUDO_USER", "")
	if got := fence.CallingUser(); got == "" {
		t.Error("without sudo nobody calls")
	}
}

// TestPolicyOfAnotherVersion: after an upgrade that cannot read the policy of the newest
// generation any more, up puts its rules into force as they were compiled, and says so.
func TestPolicyOfAnotherVersion(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, heard := newFence(t, kernel)
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	j := f.Reconciler().Journal()
	entry, err := j.Newest()
	labtest.Must(t, err)
	entry.Policy = "version: 1\nproviders: [{name: acme, addresses: [203.0.113.5]}]\ncolour: red\n"
	pending, err := j.Begin(entry)
	labtest.Must(t, err)
	labtest.Must(t, pending.Finish())
	kernel.Change(func(s *ruleset.State) { *s = ruleset.State{GenID: s.GenID} })
	r, err := f.Up(t.Context())
	labtest.Must(t, err)
	state, err := kernel.Observe(t.Context())
	labtest.Must(t, err)
	if r.Generation != 2 || r.Size != "its rules as compiled" || !state.Sets["providers4"].Contains(provider) || len(state.Chains) == 0 {
		t.Errorf("generation %d is up (%s), with %v", r.Generation, r.Size, state.Sets["providers4"].Elements)
	}
	if len(*heard) != 1 || (*heard)[0].Code != notice.RulesAsCompiled || !strings.Contains((*heard)[0].Text, `unknown key "colour"`) {
		t.Errorf("notices: %+v", *heard)
	}
}

// TestPolicyFile: an alarm says that the policy file is newer than what is in force, or
// cannot be read any more; a file that says the same is none, whatever its time is.
func TestPolicyFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "policy.yaml")
	f := fence.New(fence.Config{
		StateDir: folder + "/state", RunDir: folder + "/run", User: "somebody", PolicyFile: path, Log: slog.New(slog.DiscardHandler), Notice: func(notice.Notice) {},
	}, testWorld(&plantest.Kernel{}))
	p := policyOf(t, firstPolicy)
	p.Source = path
	labtest.Must(t, os.WriteFile(path, []byte(firstPolicy), 0o600))
	_, err := f.Apply(t.Context(), p, fence.ApplyOptions{})
	labtest.Must(t, err)
	// A file that was moved here may have an older time than the generation.
	another := filepath.Join(folder, "another.yaml")
	labtest.Must(t, os.WriteFile(another, []byte(secondPolicy), 0o600))
	for _, test := range []struct {
		name   string
		change func() error
		want   string
	}{
		{"as applied", func() error { return nil }, ""},
		{"written again", func() error { return os.WriteFile(path, []byte(firstPolicy), 0o600) }, ""},
		{"another one was moved here", func() error {
			old := time.Now().Add(-24 * time.Hour)
			return errors.Join(os.Chtimes(another, old, old), os.Rename(another, path))
		}, "it was changed after generation 1 was made"},
		{"a link", func() error {
			return errors.Join(os.Remove(path), os.WriteFile(another, []byte(secondPolicy), 0o600), os.Symlink(another, path))
		}, "it was changed after generation 1 was made"},
		{"a pipe", func() error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) }, "cannot be read any more: it is not a file"},
		{"gone", func() error { return os.Remove(path) }, "cannot be read any more: no such file or directory"},
	} {
		labtest.Must(t, test.change())
		s, err := f.View().Status(t.Context())
		labtest.Must(t, err)
		got := ""
		for _, a := range s.Alarms {
			got += a.Text
		}
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// TestPhones: a phone that the PBX has accepted is listed with the time that it is in,
// outlives the table, and is not forgotten by down and up.
func TestPhones(t *testing.T) {
	kernel := &plantest.Kernel{}
	f, heard := newFence(t, kernel)
	apply(t, f, firstPolicy, fence.ApplyOptions{})
	if phones, err := f.View().Phones(t.Context()); len(phones) > 0 || err != nil || len(*heard) != 1 || (*heard)[0].Code != notice.NobodyRegisters {
		t.Errorf("where nobody registers: %+v, %v, %+v", phones, err, *heard)
	}
	apply(t, f, firstPolicy+"unknown: {action: register}\n", fence.ApplyOptions{})
	kernel.Register(backend.Phone{Address: stranger, Port: 5062, Left: 30 * time.Minute})
	saw(t, f, drop(stranger.String(), time.Minute, "unknown", "Yealink"))
	in := func(step string) {
		t.Helper()
		phones, err := f.View().Phones(t.Context())
		labtest.Must(t, err)
		if len(phones) != 1 || phones[0].Address != stranger || phones[0].Port != 5062 || phones[0].UserAgent != "Yealink" || time.Until(phones[0].Until) < 25*time.Minute {
			t.Errorf("%s: %+v", step, phones)
		}
		s, err := f.View().Status(t.Context())
		labtest.Must(t, err)
		if s.Phones == nil || *s.Phones != 1 {
			t.Errorf("%s: the status has %v phones", step, s.Phones)
		}
	}
	in("at once")
	_, err := f.Refresh(t.Context(), fence.RefreshOptions{})
	labtest.Must(t, err)
	_, err = f.Down(t.Context(), false)
	labtest.Must(t, err)
	_, err = f.Up(t.Context())
	labtest.Must(t, err)
	in("after down and up")
}
