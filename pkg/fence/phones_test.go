package fence_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// roaming is a host whose phones register.
type roaming struct {
	t      *testing.T
	folder string
	boot   int
	booted time.Time
	clock  time.Duration // by how much the wall clock is wrong
	kernel *plantest.Kernel
}

const roamingPolicy = "version: 1\nproviders: [{name: acme, addresses: [203.0.113.5]}]\nunknown: {action: register}\n"

// newRoaming runs f in a bubble where time passes at once.
func newRoaming(t *testing.T, f func(r *roaming)) {
	t.Helper()
	folder, err := os.MkdirTemp("/dev/shm", "ringfence")
	labtest.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	synctest.Test(t, func(t *testing.T) {
		r := &roaming{t: t, folder: folder}
		r.reboot(0)
		apply(t, r.fence(), roamingPolicy, fence.ApplyOptions{})
		f(r)
	})
}

func (r *roaming) fence() *fence.Fence {
	world := testWorld(r.kernel)
	world.Now = func() resolve.Moment {
		return resolve.Moment{Time: time.Now().Add(r.clock), Boot: fmt.Sprint("boot", r.boot), Up: resolve.Span(time.Since(r.booted))}
	}
	return fence.New(fence.Config{
		StateDir: r.folder + "/state", RunDir: r.folder + "/run", User: "somebody", Log: slog.New(slog.DiscardHandler),
	}, world)
}

// reboot switches the host off for a time.
func (r *roaming) reboot(off time.Duration) {
	time.Sleep(off)
	r.boot++
	r.booted, r.kernel = time.Now(), &plantest.Kernel{}
}

// daemon starts a daemon, which looks once.
func (r *roaming) daemon() *fence.Reconciler {
	r.t.Helper()
	d := r.fence().Reconciler()
	r.look(d)
	return d
}

func (r *roaming) look(d *fence.Reconciler) {
	r.t.Helper()
	_, err := d.Reconcile(r.t.Context(), true)
	labtest.Must(r.t, err)
}

// register lets a phone in, and bans an address, for a time.
func (r *roaming) register(lasts time.Duration) {
	r.t.Helper()
	r.kernel.Register(backend.Phone{Address: netip.MustParseAddr("198.51.100.7"), Port: 5062, Left: lasts})
	labtest.Must(r.t, r.kernel.Ban(r.t.Context(), backend.Banned{Address: netip.MustParseAddr("198.51.100.66"), Left: lasts}))
}

// holds checks which phones and bans the kernel has, with the minutes they have left.
func (r *roaming) holds(want ...string) {
	r.t.Helper()
	phones, err := r.kernel.Phones(r.t.Context())
	labtest.Must(r.t, err)
	bans, err := r.kernel.Bans(r.t.Context())
	labtest.Must(r.t, err)
	var got []string
	for _, p := range phones {
		got = append(got, fmt.Sprintf("phone %s:%d %d", p.Address, p.Port, p.Left/time.Minute))
	}
	for _, b := range bans {
		got = append(got, fmt.Sprintf("ban %s %d", b.Address, b.Left/time.Minute))
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("the kernel holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// flush removes the table as another program does.
func (r *roaming) flush() { r.kernel.Change(func(s *ruleset.State) { *s = ruleset.State{} }) }

func TestPhonesAreKept(t *testing.T) {
	t.Run("over another program's flush", func(t *testing.T) {
		newRoaming(t, func(r *roaming) {
			r.register(time.Hour)
			d := r.daemon()
			time.Sleep(10 * time.Minute)
			r.flush()
			r.holds()
			r.look(d)
			r.holds("phone 198.51.100.7:5062 50", "ban 198.51.100.66 50")
		})
	})
	t.Run("over a flush without a daemon", func(t *testing.T) {
		newRoaming(t, func(r *roaming) {
			r.register(time.Hour)
			r.daemon().Close(r.t.Context())
			r.flush()
			_, err := r.fence().Refresh(r.t.Context(), fence.RefreshOptions{})
			labtest.Must(r.t, err)
			r.holds("phone 198.51.100.7:5062 60", "ban 198.51.100.66 60")
		})
	})
	t.Run("over a reboot", func(t *testing.T) {
		newRoaming(t, func(r *roaming) {
			r.register(time.Hour)
			r.daemon().Close(r.t.Context())
			r.reboot(20 * time.Minute)
			_, err := r.fence().Up(r.t.Context())
			labtest.Must(r.t, err)
			r.holds("phone 198.51.100.7:5062 40", "ban 198.51.100.66 40")
		})
	})
	t.Run("not over a reboot that takes longer than they have left", func(t *testing.T) {
		newRoaming(t, func(r *roaming) {
			r.register(time.Hour)
			r.daemon().Close(r.t.Context())
			r.reboot(time.Hour)
			_, err := r.fence().Up(r.t.Context())
			labtest.Must(r.t, err)
			r.holds()
		})
	})
	t.Run("not phones where the clock has gone back", func(t *testing.T) {
		newRoaming(t, func(r *roaming) {
			r.register(time.Hour)
			r.daemon().Close(r.t.Context())
			r.reboot(20 * time.Minute)
			r.clock = -24 * time.Hour
			time.Sleep(time.Minute)
			_, err := r.fence().Up(r.t.Context())
			labtest.Must(r.t, err)
			r.holds("ban 198.51.100.66 59")
		})
	})
	t.Run("and a clock that is set changes nothing", func(t *testing.T) {
		newRoaming(t, func(r *roaming) {
			r.register(time.Hour)
			d := r.daemon()
			for _, wrong := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
				r.clock = wrong
				r.flush()
				r.look(d)
				r.holds("phone 198.51.100.7:5062 60", "ban 198.51.100.66 60")
			}
		})
	})
	t.Run("over down and up", func(t *testing.T) {
		newRoaming(t, func(r *roaming) {
			r.register(time.Hour)
			_, err := r.fence().Down(r.t.Context(), false)
			labtest.Must(r.t, err)
			_, err = r.fence().Up(r.t.Context())
			labtest.Must(r.t, err)
			r.holds("phone 198.51.100.7:5062 60", "ban 198.51.100.66 60")
		})
	})
	t.Run("with who has logged in within a day", func(t *testing.T) {
		newRoaming(t, func(r *roaming) {
			login := backend.Phone{Address: netip.MustParseAddr("198.51.100.7"), Left: 24 * time.Hour}
			labtest.Must(r.t, r.kernel.Logins().Add(r.t.Context(), []backend.Phone{login}))
			knows := func(left time.Duration) {
				r.t.Helper()
				got, err := r.kernel.Logins().List(r.t.Context())
				labtest.Must(r.t, err)
				want := []backend.Phone{{Address: login.Address, Left: left}}
				if !slices.Equal(got, want) {
					r.t.Errorf("the kernel knows %v, want %v", got, want)
				}
			}
			d := r.daemon()
			r.flush()
			r.look(d)
			knows(24 * time.Hour)
			d.Close(r.t.Context())
			r.reboot(20 * time.Hour)
			_, err := r.fence().Up(r.t.Context())
			labtest.Must(r.t, err)
			knows(4 * time.Hour)
		})
	})
	t.Run("but not what was unbanned", func(t *testing.T) {
		newRoaming(t, func(r *roaming) {
			r.register(time.Hour)
			d := r.daemon()
			_, err := r.fence().Unban(r.t.Context(), netip.MustParseAddr("198.51.100.66"))
			labtest.Must(r.t, err)
			r.flush()
			r.look(d)
			r.holds("phone 198.51.100.7:5062 60")
		})
	})
}

// TestPhonesAreSavedSeldom: what has not changed is not written again, and nothing is
// written more than once a minute.
func TestPhonesAreSavedSeldom(t *testing.T) {
	newRoaming(t, func(r *roaming) {
		path := filepath.Join(r.folder, "state/journal/phones.json")
		written := func() string {
			content, err := os.ReadFile(path)
			labtest.Must(r.t, err)
			return string(content)
		}
		r.register(time.Hour)
		d := r.daemon()
		first := written()
		r.kernel.Register(backend.Phone{Address: netip.MustParseAddr("198.51.100.8"), Port: 5062, Left: time.Hour})
		time.Sleep(30 * time.Second)
		if r.look(d); written() != first {
			r.t.Error("it is written after half a minute")
		}
		time.Sleep(31 * time.Second)
		if r.look(d); written() == first {
			r.t.Error("a new phone is not saved after a minute")
		}
	})
}

// TestDamagedPhones: a damaged file is set aside, the fence is put up without it, and the
// user hears of it.
func TestDamagedPhones(t *testing.T) {
	newRoaming(t, func(r *roaming) {
		r.register(time.Hour)
		r.daemon().Close(r.t.Context())
		path := filepath.Join(r.folder, "state/journal/phones.json")
		labtest.Must(r.t, os.WriteFile(path, []byte(`{"phones": [{"addr`), 0o640))
		r.flush()
		refreshed, err := r.fence().Refresh(r.t.Context(), fence.RefreshOptions{})
		labtest.Must(r.t, err)
		r.holds()
		aside, err := filepath.Glob(path + ".damaged*")
		labtest.Must(r.t, err)
		if len(aside) != 1 {
			r.t.Errorf("the damaged file is not set aside: %q", aside)
		}
		if !slices.ContainsFunc(refreshed.Notices, func(n notice.Notice) bool { return n.Code == notice.NotLearnedAgain }) {
			r.t.Errorf("the user does not hear of it: %v", refreshed.Notices)
		}
	})
}
