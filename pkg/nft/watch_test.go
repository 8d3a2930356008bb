package nft_test

import (
	"context"
	"testing"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
)

// TestWatch: every change of the table is reported with the program that made it, and no
// change of any other table is.
func TestWatch(t *testing.T) {
	h := labtest.Host(t, "pbx")
	other := labtest.StartNFT(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var touched <-chan nft.Touched
	labtest.In(t, h, func() (err error) {
		touched, err = nft.Watch(ctx)
		return err
	})
	want := compiled(t, everything)
	// ours applies the state and reads what is reported of it: each of its transactions.
	ours := func() {
		p := apply(t, h, want)
		for range nft.Transactions(p) {
			if got := <-touched; got.Program == "nft" || got.GenID == 0 {
				t.Errorf("our own change is %+v", got)
			}
		}
	}
	ours()
	// Of these changes, only the last of each round is about the table.
	for _, script := range []string{
		"delete table inet ringfence",
		"flush ruleset",
		"insert rule inet ringfence sip accept",
		"add element inet ringfence providers4 { 9.9.9.9 }",
		"delete element inet ringfence providers4 { 203.0.113.0/24 }",
		"flush set inet ringfence providers6",
		"flush chain inet ringfence pass",
		"add counter inet ringfence more",
		"add table inet ringfence { flags dormant; }",
	} {
		other.Do(t, "add table ip theirs; add chain ip theirs c; add rule ip theirs c accept; add table ip ringfence; add chain ip ringfence sip")
		other.Do(t, "delete table ip ringfence")
		other.Do(t, script)
		if got := <-touched; got.Program != "nft" || got.PID == 0 || got.Lost {
			t.Errorf("%s: %+v", script, got)
		}
		select {
		case more := <-touched:
			t.Errorf("%s: told twice, or of another table: %+v", script, more)
		default:
		}
		ours()
	}
	cancel()
	for range touched { // which ends
	}
}

// TestWatchLosesNothingSilently: a watcher that does not receive while others change
// very much gets the last change, or a report that something was lost.
func TestWatchLosesNothingSilently(t *testing.T) {
	h := labtest.Host(t, "pbx")
	other := labtest.StartNFT(t, h)
	var touched <-chan nft.Touched
	labtest.In(t, h, func() (err error) {
		touched, err = nft.Watch(t.Context())
		return err
	})
	want := compiled(t, everything)
	var last uint64
	for range 50 {
		apply(t, h, want)
		other.Do(t, "delete table inet ringfence")
	}
	labtest.In(t, h, func() error {
		have, err := control.Controller{Kernel: &nft.Kernel{}}.Plan(t.Context(), control.Desired{State: want})
		if err == nil {
			last = have.GenID
		}
		return err
	})
	for got := range touched {
		if got.Lost || got.GenID == last {
			return
		}
	}
}
