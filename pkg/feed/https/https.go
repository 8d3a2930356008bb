// Package https fetches the lists of addresses that providers publish. It is the only
// package that speaks HTTP: by TLS with a verified certificate, within limits of time and
// size, and through the proxy of HTTPS_PROXY if that is set.
package https

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/ringfence/ringfence/pkg/feed"
)

// The limits of one list.
const (
	mostTime      = 10 * time.Second
	mostBytes     = 1 << 20
	mostHeaders   = 64 << 10
	mostRedirects = 3
)

// Client fetches lists.
type Client struct{ client *http.Client }

// New returns a client that believes the certificates that this host believes.
func New() Client {
	return Client{&http.Client{
		Timeout: mostTime,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: mostHeaders,
			DisableKeepAlives:      true, // the next time is in an hour
		},
		CheckRedirect: func(r *http.Request, before []*http.Request) error {
			switch {
			case r.URL.Scheme != "https":
				return errInsecure
			case len(before) > mostRedirects:
				return errRedirects
			}
			return nil
		},
	}}
}

var (
	errInsecure  = errors.New("the server redirects to an address without TLS")
	errRedirects = fmt.Errorf("the server redirects more than %d times", mostRedirects)
	errSize      = fmt.Errorf("it is larger than %d bytes", mostBytes)
)

// Request is a question for a list. ETag and Modified are those of an earlier answer, ""
// for none.
type Request struct{ URL, Format, ETag, Modified string }

// Answer is a list as it is now. Unchanged says that it is the one of the request's tags;
// then the rest is empty.
type Answer struct {
	Unchanged      bool
	Prefixes       []netip.Prefix
	ETag, Modified string
}

// Fetch asks for a list. The texts of its errors do not change from one try to the next
// if the reason does not.
func (c Client) Fetch(ctx context.Context, q Request) (Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, q.URL, nil)
	if err != nil {
		return Answer{}, fmt.Errorf("ask for list: %w", err)
	}
	r.Header.Set("User-Agent", "ringfence")
	set := func(header, value string) {
		if value != "" {
			r.Header.Set(header, value)
		}
	}
	set("If-None-Match", q.ETag)
	set("If-Modified-Since", q.Modified)
	response, err := c.client.Do(r)
	if err != nil {
		return Answer{}, plain(err)
	}
	defer response.Body.Close()
	switch asked := q.ETag != "" || q.Modified != ""; {
	case response.StatusCode == http.StatusNotModified && asked:
		return Answer{Unchanged: true}, nil
	case response.StatusCode != http.StatusOK:
		return Answer{}, fmt.Errorf("the server answers %d %s", response.StatusCode, http.StatusText(response.StatusCode))
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, mostBytes+1))
	switch {
	case err != nil:
		return Answer{}, plain(err)
	case len(text) > mostBytes:
		return Answer{}, errSize
	}
	prefixes, err := feed.Parse(q.Format, text)
	return Answer{Prefixes: prefixes, ETag: response.Header.Get("ETag"), Modified: response.Header.Get("Last-Modified")}, err
}

// plain says what has gone wrong without what differs from try to try: ports and times.
func plain(err error) error {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the server does not answer in time")
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		if name.IsNotFound {
			return fmt.Errorf("the name %s does not exist", name.Name)
		}
		return fmt.Errorf("the name %s cannot be resolved", name.Name)
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return errors.New("the certificate of the server has expired, or is not valid yet")
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("the certificate of the server is not valid: %w", certificate.Err)
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("the server cannot be reached: %w", network.Err)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}
