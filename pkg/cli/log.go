package cli

import (
	"context"
	"log/slog"
)

// warnings writes what is logged as a warning as a command writes its own, and hands on
// everything else.
type warnings struct {
	slog.Handler
	app *app
}

// Handle writes a record.
func (w warnings) Handle(ctx context.Context, r slog.Record) error {
	if r.Level != slog.LevelWarn {
		return w.Handler.Handle(ctx, r)
	}
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			text += ": " + a.Value.String()
		} else {
			text += " (" + a.String() + ")"
		}
		return true
	})
	w.app.warn(text)
	return nil
}
