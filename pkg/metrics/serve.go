package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
)

// Port is the usual one.
const Port = 9960

// The limits of the server: what is behind it reads the whole table.
const (
	mostConnections = 16
	longestRequest  = 5 * time.Second
	longestAnswer   = 30 * time.Second
	longestIdle     = 2 * time.Minute
	largestHeader   = 16 << 10
)

// Server serves metrics by HTTP.
type Server struct {
	listener net.Listener
	// Status reads the fence. It is called once at a time.
	Status func(context.Context) (*fence.Status, error)
	// Version is that of the program.
	Version string
	Log     *slog.Logger
}

// Listen begins to listen at an address with a port. Without an address it is one of this
// host alone.
func Listen(ctx context.Context, address string) (*Server, error) {
	at, err := endpoint(address)
	if err != nil {
		return nil, notice.WithHint(fmt.Errorf("metrics at %q: %w", address, err),
			"write an address and a port, as in 127.0.0.1:%d; :%d is the same", Port, Port)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", at.String())
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, notice.WithHint(fmt.Errorf("metrics at %s: another program listens there", at), "ss -ltnp sport = :%d shows it; name another port", at.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, notice.WithHint(fmt.Errorf("metrics at %s: this host has no such address", at), "127.0.0.1:%d is for programs of this host alone", at.Port())
	case err != nil:
		return nil, fmt.Errorf("metrics at %s: %w", at, err)
	}
	return &Server{listener: netutil.LimitListener(l, mostConnections), Log: slog.New(slog.DiscardHandler)}, nil
}

// endpoint reads an address with a port.
func endpoint(text string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return netip.AddrPort{}, errors.New("it is no address with a port")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no port", port)
	}
	if host == "" || strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", host)
	}
	return netip.AddrPortFrom(addr, uint16(number)), nil
}

// URL is where the metrics are.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() + "/metrics" }

// Close ends listening. It is for a server that does not Serve.
func (s *Server) Close() error { return s.listener.Close() }

// Serve answers until the context ends. What it cannot do is logged: what the process is
// for goes on without it.
func (s *Server) Serve(ctx context.Context) {
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: longestRequest, ReadTimeout: longestRequest, WriteTimeout: longestAnswer, IdleTimeout: longestIdle,
		MaxHeaderBytes: largestHeader, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	s.Log.Info("metrics are served", "at", s.URL())
	if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		s.Log.Error("serve metrics", "error", err)
	}
}

// handler answers what is asked for.
func (s *Server) handler() http.Handler {
	r := &reader{Server: s, turn: make(chan struct{}, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ringfence: the metrics are at /metrics")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, q *http.Request) {
		ctx, cancel := context.WithTimeout(q.Context(), longestAnswer)
		defer cancel()
		status, err := r.status(ctx)
		if err != nil {
			http.Error(w, "the fence cannot be read now; the log of ringfence run says why", http.StatusServiceUnavailable)
			return
		}
		text, err := s.text(status)
		if err != nil {
			s.Log.Error("write metrics", "error", err)
			http.Error(w, "the metrics cannot be written; the log of ringfence run says why", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(text) // who asked may be gone
	})
	return mux
}

// text returns the metrics of a fence and of this process.
func (s *Server) text(status *fence.Status) ([]byte, error) {
	fenced, err := Text(status, s.Version)
	if err != nil {
		return nil, err
	}
	own, err := ofProcess().text()
	return append(own, fenced...), err
}

// reader reads the fence for one request at a time.
type reader struct {
	*Server
	turn    chan struct{} // holds one value while somebody reads
	failure string        // what was logged last, "" after a success
}

func (r *reader) status(ctx context.Context) (*fence.Status, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s, err := r.Status(ctx)
	switch {
	case err == nil:
		r.failure = ""
	case ctx.Err() == nil && r.failure != err.Error():
		r.failure = err.Error() // programs ask every few seconds
		r.Log.Error("read the fence for metrics", "error", err)
	}
	return s, err
}
