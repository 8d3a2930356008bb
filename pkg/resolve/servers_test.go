package resolve_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// TestSystemServers reads resolv.conf as the C library does.
func TestSystemServers(t *testing.T) {
	const local = "[127.0.0.1:53] 0s 0 false"
	for _, test := range []struct{ name, text, want string }{
		{
			"all sorts", "# comment\nsearch example.net\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\nnameserver nonsense\noptions ndots:2\n",
			"[192.0.2.53:53 [2001:db8::53]:53 [fe80::1%eth0]:53] 0s 0 false",
		},
		{"nothing", "", local},
		{"no name server", "search lan\noptions edns0\n", local},
		{"a name server without an address", "nameserver\n", local},
		{"CRLF, tabs and comments", "nameserver\t192.0.2.53 # office\r\nnameserver 192.0.2.54;x\r\n", "[192.0.2.53:53 192.0.2.54:53] 0s 0 false"},
		{"a comment as the address", "nameserver # none\n", local},
		{"TCP", "nameserver 192.0.2.53\noptions use-vc\n", "[192.0.2.53:53] 0s 0 true"},
		{"TCP as it was called once", "nameserver 192.0.2.53\noptions usevc\n", "[192.0.2.53:53] 0s 0 true"},
		{"times", "nameserver 192.0.2.53\noptions timeout:1 attempts:3\n", "[192.0.2.53:53] 1s 3 false"},
		{"times out of bounds", "nameserver 192.0.2.53\noptions timeout:30 attempts:99\n", "[192.0.2.53:53] 5s 5 false"},
		{"times that are none", "nameserver 192.0.2.53\noptions timeout:0 attempts:-1 timeout: attempts:x\n", "[192.0.2.53:53] 0s 0 false"},
		{"options that are for others", "nameserver 192.0.2.53\noptions rotate trust-ad single-request no-aaaa what-is-this:7\nsortlist 130.155.160.0/255.255.240.0\nlookup file bind\n", "[192.0.2.53:53] 0s 0 false"},
		{"more than three", "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n", "[192.0.2.1:53 192.0.2.2:53 192.0.2.3:53 192.0.2.4:53] 0s 0 false"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "resolv.conf")
			if err := os.WriteFile(path, []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, serversText(t, path)); diff != "" {
				t.Error(diff)
			}
		})
	}
	folder := t.TempDir()
	for _, path := range []string{folder, filepath.Join(folder, "none"), filepath.Join("/dev/null", "none")} {
		if got := serversText(t, path); got != local {
			t.Errorf("%s is %s, want %s", path, got, local)
		}
	}
}

func serversText(t *testing.T, path string) string {
	t.Helper()
	s, err := resolve.SystemServers(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(s.Addresses, s.Timeout, s.Tries, s.TCP)
}

// TestReadHosts reads /etc/hosts as the C library does, but for what no registrar has.
func TestReadHosts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	const text = "127.0.0.1 localhost sip.example\n::1 localhost\n0.0.0.0 ads.example\n# 192.0.2.9 sip.example\n" +
		"192.0.2.12\tSIP.Example\ttrunk # pinned\n192.0.2.13 sip.example.\n2001:db8::12 sip.example\n192.0.2.12 sip.example\n10.1.2.3 sbc\nnonsense x\n192.0.2.14\nfe80::1%eth0 y\r\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	hosts, err := resolve.ReadHosts(path)
	if err != nil {
		t.Fatal(err)
	}
	const want = "map[sbc:[10.1.2.3] sip.example:[192.0.2.12 192.0.2.13 2001:db8::12] trunk:[192.0.2.12]]"
	if diff := cmp.Diff(want, fmt.Sprint(hosts)); diff != "" {
		t.Error(diff)
	}
	if hosts, err := resolve.ReadHosts(filepath.Join(t.TempDir(), "none")); err != nil || len(hosts) > 0 {
		t.Errorf("no file is %v, %v", hosts, err)
	}
}
