package https

import (
	"crypto/x509"
	"net/http"
	"time"
)

// Believing returns a client that believes only one certificate.
func Believing(certificate *x509.Certificate) Client {
	c := New()
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	c.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = pool
	return c
}

// Within returns a client with another limit of time.
func (c Client) Within(d time.Duration) Client {
	c.client.Timeout = d
	return c
}
