package output

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// Handler writes log records for people at a terminal: each is one plain line, as those of
// a command are.
type Handler struct {
	program string
	least   slog.Leveler
	more    string // attributes that all records have
	out     *lockedWriter
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// NewHandler makes a handler for records of at least a level.
func NewHandler(w io.Writer, program string, least slog.Leveler) *Handler {
	return &Handler{program: program, least: least, out: &lockedWriter{w: w}}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.least.Level() }

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attributes []slog.Attr) slog.Handler {
	other := *h
	for _, a := range attributes {
		other.more += attributeText(a)
	}
	return &other
}

// WithGroup implements slog.Handler. A group has no words of its own.
func (h *Handler) WithGroup(string) slog.Handler { return h }

// words are those of a command for the levels. What is only information needs none.
var words = map[slog.Level]string{slog.LevelError: "error: ", slog.LevelWarn: "warning: ", slog.LevelDebug: "debug: "}

// Handle implements slog.Handler.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	text := h.more
	r.Attrs(func(a slog.Attr) bool {
		text += attributeText(a)
		return true
	})
	if text != "" {
		text = " (" + strings.TrimPrefix(text, ", ") + ")"
	}
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := io.WriteString(h.out.w, h.program+": "+words[r.Level]+Escape(r.Message+text)+"\n")
	return err
}

// attributeText is an attribute in plain words. An empty one says nothing.
func attributeText(a slog.Attr) string {
	value := a.Value.Resolve().String()
	if value == "" {
		return ""
	}
	return ", " + strings.ReplaceAll(a.Key, "_", " ") + ": " + value
}
