package https_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/feed/https"
)

const list = "203.0.113.0/28\n"

// fetch asks a server of its own, with a certificate that the client believes.
func fetch(t *testing.T, q https.Request, handler http.HandlerFunc) (https.Answer, error) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	defer server.Close()
	q.URL = strings.Replace(q.URL, "SERVER", server.URL, 1)
	return https.Believing(server.Certificate()).Fetch(t.Context(), q)
}

func TestFetch(t *testing.T) {
	answer, err := fetch(t, https.Request{URL: "SERVER/list", Format: "lines"}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/list" || r.Header.Get("User-Agent") != "ringfence" || r.Header.Get("If-None-Match") != "" {
			t.Errorf("the request is %v", r)
		}
		w.Header().Set("ETag", `"one"`)
		fmt.Fprint(w, list)
	})
	if err != nil || fmt.Sprint(answer) != `{false [203.0.113.0/28] "one" }` {
		t.Errorf("got %v, %v", answer, err)
	}
	answer, err = fetch(t, https.Request{URL: "SERVER", Format: "lines", ETag: `"one"`, Modified: "then"}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != `"one"` || r.Header.Get("If-Modified-Since") != "then" {
			t.Errorf("the request is %v", r)
		}
		w.WriteHeader(http.StatusNotModified)
	})
	if err != nil || !answer.Unchanged {
		t.Errorf("got %v, %v", answer, err)
	}
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		what    string
		handler http.HandlerFunc
		want    string
	}{
		{"an error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "the server answers 404 Not Found"},
		{"unchanged, without a question for that", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, "the server answers 304 Not Modified"},
		{"empty", func(http.ResponseWriter, *http.Request) {}, "there is no address in it"},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for range 2 << 20 / len(list) {
				fmt.Fprint(w, list)
			}
		}, "it is larger than 1048576 bytes"},
		{"broken off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, list)
		}, "unexpected EOF"},
		{"large headers", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 100_000)) }, "net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded 65536 bytes; aborted"},
		{"a redirection without TLS", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://www.example.net/list", http.StatusFound)
		}, "the server redirects to an address without TLS"},
		{"redirections without end", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, "the server redirects more than 3 times"},
		{"no end of the request", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		if _, err := fetch(t, https.Request{URL: "SERVER", Format: "lines"}, test.handler); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", test.what, err, test.want)
		}
	}
}

// TestRedirect: a few are followed.
func TestRedirect(t *testing.T) {
	answer, err := fetch(t, https.Request{URL: "SERVER/1", Format: "lines"}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/1111" {
			http.Redirect(w, r, r.URL.Path+"1", http.StatusMovedPermanently)
			return
		}
		fmt.Fprint(w, list)
	})
	if err != nil || len(answer.Prefixes) != 1 {
		t.Errorf("got %v, %v", answer, err)
	}
}

// TestUnreachable: the texts are the same from one try to the next.
func TestUnreachable(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, list) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	ask := func(url, want string) {
		t.Helper()
		for range 2 {
			if _, err := https.New().Fetch(t.Context(), https.Request{URL: url, Format: "lines"}); err == nil || err.Error() != want {
				t.Errorf("%s: got %v, want %s", url, err, want)
			}
		}
	}
	ask(server.URL, "the certificate of the server is not valid: x509: certificate signed by unknown authority")
	url := server.URL
	server.Close()
	ask(url, "the server cannot be reached: connect: connection refused")
}

// TestSilent: a server that says nothing is waited for, but not for ever.
func TestSilent(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	client := https.Believing(server.Certificate()).Within(100 * time.Millisecond)
	if _, err := client.Fetch(t.Context(), https.Request{URL: server.URL, Format: "lines"}); err == nil || err.Error() != "the server does not answer in time" {
		t.Errorf("got %v", err)
	}
}
