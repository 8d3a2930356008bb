package fence_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
)

// TestProbeIsRemembered: that a program can be attached is not tried again by the next
// command of the same boot. What keeps it from being attached is.
func TestProbeIsRemembered(t *testing.T) {
	folder := t.TempDir()
	free, refused := &plantest.Classifier{}, &plantest.Classifier{Obstacle: errors.New("locked down")}
	command := func(c *plantest.Classifier, want int) {
		t.Helper()
		w := testWorld(&plantest.Kernel{})
		w.Classifier = c
		f := fence.New(fence.Config{
			StateDir: t.TempDir(), RunDir: folder, User: "somebody", Log: slog.New(slog.DiscardHandler), Notice: func(notice.Notice) {},
		}, w.Remembering(folder))
		apply(t, f, firstPolicy, fence.ApplyOptions{})
		if c.Probes != want {
			t.Errorf("it was tried %d times, want %d", c.Probes, want)
		}
	}
	command(refused, 1)
	command(refused, 2)
	command(free, 1)
	command(free, 1)
	if err := os.WriteFile(filepath.Join(folder, "classifier"), []byte("another boot\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	command(free, 2)
	command(free, 2)
}
