package policy_test

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ringfence/ringfence/pkg/policy"
)

var offered = policy.Available{
	Presets: policy.PresetMap{
		"telnyx": {
			Registrars: []string{"sip.telnyx.com"},
			Addresses:  []netip.Prefix{netip.MustParsePrefix("192.76.120.10/32")},
		},
		"twilio": {
			Registrars: []string{"{trunk}.pstn.twilio.com"},
			Addresses:  []netip.Prefix{netip.MustParsePrefix("54.172.60.0/30")},
			Parameters: []policy.Parameter{{Name: "trunk", Means: "the trunk's name", Example: "mycompany"}},
		},
	},
	SignatureLists: []string{"scanners"},
	Backends:       []policy.Backend{policy.BackendNFTables},
}

func parse(text string) (*policy.Policy, error) {
	return policy.Parse("policy.yaml", strings.NewReader(text), offered)
}

// whole is the policy of the documentation, with every key.
const whole = `version: 1
mode: enforce
backend: auto
interfaces: []
ports:
  udp: [5060, 5061]
  tcp: [5060, 5061]
providers:
  - preset: telnyx
  - name: acme
    registrars: [sip.acme.example, "sips:edge.acme.example:5061"]
    addresses: [203.0.113.0/24, "2001:db8::/32"]
trusted:
  hosts: [office.example.org]
  addresses: [192.168.0.0/16]
unknown:
  action: drop
  allow_replies: false
  require_user_agent: []
signatures:
  engine: auto
  presets: [scanners]
  deny: [{name: bad-dialer, header: user-agent, contains: "BadDialer"}]
  except: [sipsak]
bans:
  duration: 1h
  size: 65535
  addresses: [198.51.100.0/24]
events:
  keep: 30d
dns:
  servers: []
  refresh: {min: 60s, max: 1h}
  hold: 24h
  stale_alarm: 168h
`

func TestParseWhole(t *testing.T) {
	got, err := parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	prefix := netip.MustParsePrefix
	want := &policy.Policy{
		Backend: policy.BackendAuto,
		Ports:   policy.Ports{UDP: []uint16{5060, 5061}, TCP: []uint16{5060, 5061}},
		Providers: []policy.Provider{
			{
				Name: "telnyx", Preset: "telnyx",
				Registrars: []policy.Registrar{{Text: "sip.telnyx.com", Host: "sip.telnyx.com"}},
				Addresses:  []policy.Address{{Prefix: prefix("192.76.120.10/32"), From: "preset telnyx"}},
			},
			{
				Name: "acme",
				Registrars: []policy.Registrar{
					{Text: "sip.acme.example", Host: "sip.acme.example"},
					{Text: "sips:edge.acme.example:5061", Host: "edge.acme.example"},
				},
				Addresses: []policy.Address{
					{Prefix: prefix("203.0.113.0/24"), From: "addresses"},
					{Prefix: prefix("2001:db8::/32"), From: "addresses"},
				},
			},
		},
		Trusted: policy.Trusted{Hosts: []string{"office.example.org"}, Addresses: []netip.Prefix{prefix("192.168.0.0/16")}},
		Signatures: policy.Signatures{
			Engine: policy.EngineAuto, Presets: []string{"scanners"}, Except: []string{"sipsak"}, Mark: 0x0f000000,
			Deny: []policy.Signature{{Name: "bad-dialer", Conditions: []policy.Condition{{Header: "user-agent", Match: policy.Contains, Value: "BadDialer"}}}},
		},
		Unknown:  policy.Unknown{Action: policy.ActionDrop, Rate: policy.Rate{Count: 20, Per: time.Minute}},
		Guessing: policy.Guessing{Failures: 10, Within: time.Minute},
		Roaming:  policy.Roaming{Life: time.Hour, Match: policy.MatchAddressPort},
		Bans:     policy.Bans{Duration: time.Hour, Size: 65535, Addresses: []netip.Prefix{prefix("198.51.100.0/24")}},
		Events:   policy.Events{Keep: 720 * time.Hour},
		DNS:      policy.DNS{Min: time.Minute, Max: time.Hour, Hold: 24 * time.Hour, StaleAlarm: 168 * time.Hour},
	}
	options := cmp.Options{
		cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	}
	if diff := cmp.Diff(want, got, options); diff != "" {
		t.Error(diff)
	}

	// An empty policy gives the same, except for the lists.
	short, err := parse("version: 1\n")
	if err != nil {
		t.Fatal(err)
	}
	want.Providers, want.Trusted, want.Bans.Addresses, want.Signatures.Deny, want.Signatures.Except = nil, policy.Trusted{}, nil, nil, nil
	if diff := cmp.Diff(want, short, options); diff != "" {
		t.Error("the defaults:", diff)
	}
}

func allowed(p *policy.Policy) any {
	var texts []string
	for _, a := range p.Allowed() {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, " ")
}

func TestMistakes(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", `1:1: the policy is empty: it needs at least "version: 1" and providers`},
		{"no version", "mode: monitor\n", `1:1: version is missing: begin the policy with "version: 1"`},
		{"other version", "version: 2\n", `1:10: version "2" is not known here: this ringfence reads version 1`},
		{"no mapping", "- version: 1\n", "1:1: version is missing: begin the policy with \"version: 1\"\n1:1: want keys (version, mode, backend, interfaces, ports, providers, trusted, unknown, signatures, bans, guessing, roaming, events, dns) here"},
		{"syntax", "version: 1\nports: [5060\nmode: x\n", "3:5: not YAML: did not find expected ',' or ']' while parsing a flow sequence"},
		{"two documents", "version: 1\n---\nversion: 1\n", "2:1: one file holds one policy: remove the second document (after ---)"},
		{"two documents, both marked", "# mine\n---\nversion: 1\n--- # theirs\nversion: 1\n", "4:1: one file holds one policy: remove the second document (after ---)"},
		{"control characters", "version: 1\nmode: \"\u00e4\x01\x1b\"\n", "2:9: a control character (U+0001): remove it\n2:10: a control character (U+001B): remove it"},
		{
			"unknown keys", "version: 1\nprot: {}\nports: {udp: [5060], sctp: [5060]}\n",
			`2:1: unknown key "prot": known here are version, mode, backend, interfaces, ports, providers, trusted, unknown, signatures, bans, guessing, roaming, events, dns` + "\n" +
				`3:22: unknown key "sctp": known here are udp, tcp`,
		},
		{
			"unknown key of a provider", "version: 1\nproviders:\n- name: a\n  adresses: [192.0.2.1]\n",
			`3:9: provider "a" has neither preset nor registrars nor addresses: add one of them` + "\n" +
				`4:3: unknown key "adresses": known here are name, preset, with, registrars, addresses, dns`,
		},
		{
			"repeated key", "version: 1\nmode: monitor\nmode: enforce\nbackend: x\n",
			`3:1: "mode" was already given in line 2: put both together` + "\n" + `4:10: backend is "x": write auto or nftables`,
		},
		{"list where a value belongs", "version: 1\nmode: [enforce]\n", "2:7: want a single value here, not a list or keys"},
		{"providers without a hyphen", "version: 1\nproviders:\n  name: acme\n", `3:3: want a list here: begin each provider with "- "`},
		{"a registrar that is no list", "version: 1\nproviders:\n- {name: acme, registrars: sip.acme.example}\n", "3:28: want a list, such as [a, b] here"},
		{"value where a list belongs", "version: 1\ninterfaces: eth0\n", "2:13: want a list, such as [a, b] here"},
		{"value where keys belong", "version: 1\nports: 5060\n", "2:8: want keys (udp, tcp) here"},
		{"bad mode", "version: 1\nmode: off\n", `2:7: mode is "off": write enforce or monitor`},
		{"back end that is not there", "version: 1\nbackend: iptables\n", "2:10: this version has no back end iptables: write auto, or leave backend out"},
		{"marks that are not four bits", "version: 1\nsignatures: {mark: 0x0f100000}\n", `2:20: signatures.mark is "0x0f100000": write four bits of the 32 of a packet's mark, next to each other, as 0x0f000000`},
		{"marks beyond the mark", "version: 1\nsignatures: {mark: 0xf00000000}\n", `2:20: signatures.mark is "0xf00000000": write four bits of the 32 of a packet's mark, next to each other, as 0x0f000000`},
		{"engine that is not there", "version: 1\nsignatures: {engine: bpf}\n", "2:22: this version has no engine bpf: write auto or off"},
		{
			"trusted interfaces", "version: 1\ntrusted: {interfaces: [lan0, 'wg*', lo, '*', 'a/b']}\n",
			`2:37: "lo" is trusted anyway, for over it this host speaks with itself: leave it out` + "\n" +
				`2:41: "*" is every interface, and then nobody is kept out: name those of your own network` + "\n" +
				`2:46: "a/b" is not an interface name: write one like eth0, or a prefix like ppp*`,
		},
		{
			"interfaces", "version: 1\ninterfaces: [lo, 'l*', '*', eth0, eth0, 'a*b', 'with space', averyveryverylongname, '']\n",
			`2:14: "lo" fences lo, which this host uses to talk to itself: leave it out` + "\n" +
				`2:18: "l*" fences lo, which this host uses to talk to itself: leave it out` + "\n" +
				`2:24: "*" is every interface: write interfaces: [] for that` + "\n" +
				`2:35: interface "eth0" is already listed in line 2: remove one` + "\n" +
				`2:41: "a*b" is not an interface name: write one like eth0, or a prefix like ppp*` + "\n" +
				`2:48: "with space" is not an interface name: write one like eth0, or a prefix like ppp*` + "\n" +
				`2:62: "averyveryverylongname" is longer than 15 characters, the longest interface name` + "\n" +
				`2:85: an empty interface: remove it`,
		},
		{
			"ports", "version: 1\nports: {udp: [0, 65536, 0x13c4, -1, 5060, 05060, 5e3, five], tcp: []}\n",
			`2:15: "0" is not a port: write a decimal number from 1 to 65535` + "\n" +
				`2:18: "65536" is not a port: write a decimal number from 1 to 65535` + "\n" +
				`2:25: "0x13c4" is not a port: write a decimal number from 1 to 65535` + "\n" +
				`2:33: "-1" is not a port: write a decimal number from 1 to 65535` + "\n" +
				`2:43: port 5060 is already listed in line 2: remove one` + "\n" +
				`2:50: "5e3" is not a port: write a decimal number from 1 to 65535` + "\n" +
				`2:55: "five" is not a port: write a decimal number from 1 to 65535`,
		},
		{"no ports, and more", "version: 1\nmode: off\nports: {udp: [], tcp: []}\n", "2:7: mode is \"off\": write enforce or monitor\n3:8: ports.udp and ports.tcp are both empty, so nothing would be fenced: list a port"},
		{"UTF-16", "\xff\xfev\x00e\x00r\x00", "1:1: the policy is not UTF-8 text: save it as UTF-8"},
		{
			"no servers", "version: 1\nproviders: [{name: a, registrars: ['[2001:db8::9', '2001:db8::9]', '[192.0.2.1]', 0.0.0.0, 'sip:224.0.0.1', '::']}]\n",
			registrarMistakes("2", map[int]string{36: "[2001:db8::9", 52: "2001:db8::9]", 68: "[192.0.2.1]", 83: "0.0.0.0", 92: "sip:224.0.0.1", 109: "::"}, 36, 52, 68, 83, 92, 109),
		},
		{"no ports", "version: 1\nports: {udp: [], tcp: []}\n", "2:8: ports.udp and ports.tcp are both empty, so nothing would be fenced: list a port"},
		{
			"addresses", "version: 1\ntrusted:\n  addresses: [192.0.2.300, 192.0.2.0/33, example.net, 'fe80::1%eth0', '']\n",
			`3:15: "192.0.2.300" is not an IP address or prefix: write one like 203.0.113.5, 203.0.113.0/24 or 2001:db8::/48; names belong under registrars or hosts` + "\n" +
				`3:28: "192.0.2.0/33" is not an IP address or prefix: write one like 203.0.113.5, 203.0.113.0/24 or 2001:db8::/48; names belong under registrars or hosts` + "\n" +
				`3:42: "example.net" is not an IP address or prefix: write one like 203.0.113.5, 203.0.113.0/24 or 2001:db8::/48; names belong under registrars or hosts` + "\n" +
				`3:55: "fe80::1%eth0" names an interface: write the address without %eth0` + "\n" +
				`3:71: "" is not an IP address or prefix: write one like 203.0.113.5, 203.0.113.0/24 or 2001:db8::/48; names belong under registrars or hosts`,
		},
		{
			"too short", "version: 1\nproviders: [{name: a, addresses: [0.0.0.0/0, 10.0.0.0/7, '2000::/3', 'fe80::/10']}]\n",
			"2:35: 0.0.0.0/0 is shorter than /8 and allows too much: use unknown.action: accept\n" +
				"2:46: 10.0.0.0/7 is shorter than /8 and allows too much: use unknown.action: accept\n" +
				"2:58: 2000::/3 is shorter than /24 and allows too much: use unknown.action: accept\n" +
				"2:70: fe80::/10 is shorter than /24 and allows too much: use unknown.action: accept",
		},
		{
			"providers", "version: 1\nproviders:\n- name: Acme Ltd\n  addresses: [192.0.2.1]\n- registrars: [a.example]\n- name: a\n  addresses: [192.0.2.2]\n- name: a\n  preset: nobody\n- {}\n- name: b\n  registrars: ['not a name', 192.0.2.300, 'a.example:99999', 'sip:', 'http://x', '-a.example', '']\n",
			"3:9: provider name \"Acme Ltd\": use lower-case letters, digits and hyphens only\n" +
				"5:3: a provider without a name: add name, in lower-case letters, digits and hyphens\n" +
				"8:9: provider \"a\" is already used in line 6: give one of them another name\n" +
				"9:11: there is no preset \"nobody\": the presets are telnyx, twilio; or list the provider's registrars\n" +
				"10:3: a provider without a name: add name, in lower-case letters, digits and hyphens\n" +
				registrarMistakes("12", map[int]string{16: "not a name", 30: "192.0.2.300", 43: "a.example:99999", 62: "sip:", 70: "http://x", 82: "-a.example"}, 16, 30, 43, 62, 70, 82) +
				"\n12:96: an empty registrar: remove it",
		},
		{
			"preset twice", "version: 1\nproviders: [{preset: telnyx}, {preset: telnyx}]\n",
			`2:40: provider "telnyx" is already used in line 2: give one of them another name`,
		},
		{
			"hosts", "version: 1\ntrusted: {hosts: [192.0.2.1, 'sip:office.example', office.example, office.example]}\n",
			`2:19: "192.0.2.1" is an address: move it to trusted.addresses` + "\n" +
				`2:30: "sip:office.example" is not a host name: write one like office.example.org` + "\n" +
				`2:68: host "office.example" is already listed in line 2: remove one`,
		},
		{
			"allowed and banned", "version: 1\nproviders: [{name: a, addresses: [203.0.113.7]}]\nbans: {addresses: [198.51.100.1, 203.0.113.0/24]}\n",
			"2:35: 203.0.113.7 is allowed here and banned in line 3 (203.0.113.0/24): remove one of them\n" +
				"3:34: 203.0.113.0/24 is banned here and allowed in line 2 (203.0.113.7): remove one of them",
		},
		{
			"empty entries", "version: 1\ninterfaces: [~]\nports: {udp: [null]}\nproviders:\n- name: a\n  registrars:\n  -\n-\ntrusted: {addresses: [~], hosts: [~]}\n",
			"2:14: an empty list entry: remove it\n3:15: an empty list entry: remove it\n" +
				"5:9: provider \"a\" has neither preset nor registrars nor addresses: add one of them\n" +
				"7:4: an empty list entry: remove it\n8:2: an empty list entry: remove it\n" +
				"9:23: an empty list entry: remove it\n9:35: an empty list entry: remove it",
		},
		{
			"numbers and times", "version: 1\nbans: {size: 0, duration: 1}\ndns: {hold: soon, refresh: {min: 2h}, stale_alarm: 0s}\n",
			`2:14: bans.size is "0": write a decimal number from 1 to 16777216` + "\n" +
				`2:27: bans.duration is "1": write a time with its unit, such as 60s, 5m, 24h or 30d` + "\n" +
				`3:13: dns.hold is "soon": write a time with its unit, such as 60s, 5m, 24h or 30d` + "\n" +
				`3:34: dns.refresh.min (2h) is longer than dns.refresh.max (1h): swap them, or set both` + "\n" +
				`3:52: dns.stale_alarm is 0s: write a time from 1m to 8784h`,
		},
		{
			"how long events are kept", "version: 1\nevents: {keep: 400d, size: 5}\n",
			`2:16: events.keep is 400d: write a time from 0s to 8784h` + "\n" +
				`2:22: unknown key "size": known here are keep`,
		},
		{
			"name servers", "version: 1\ndns: {servers: [dns.example, 192.0.2.53:0]}\n",
			`2:17: "dns.example" is not the address of a name server: write one like 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53` + "\n" +
				`2:30: "192.0.2.53:0" is not the address of a name server: write one like 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53`,
		},
		{"truth", "version: 1\nunknown: {allow_replies: yes}\n", `2:26: unknown.allow_replies is "yes": write false or true`},
		{
			"User-Agent with drop", "version: 1\nunknown: {require_user_agent: [Yealink]}\n",
			"2:32: require_user_agent needs unknown.action: accept or register: with drop no unknown source passes, whatever its User-Agent",
		},
		{
			"what is for who registers, with drop", "version: 1\nunknown: {rate: 5/min}\nroaming: {match: address}\nguessing: {within: 2m, failures: 3}\n",
			"2:17: unknown.rate needs unknown.action: register: with drop no REGISTER is counted\n" +
				"3:18: roaming needs unknown.action: register: with drop nobody is let in for having registered\n" +
				"4:20: guessing needs unknown.action: accept or register: with drop no unknown source can log in",
		},
		{
			"what is for who registers, with accept", "version: 1\nunknown: {action: accept, rate: 5/min}\nroaming: {match: address,\n  life: 2h}\nguessing: {failures: 0}\n",
			"2:33: unknown.rate needs unknown.action: register: with accept no REGISTER is counted\n" +
				"3:18: roaming needs unknown.action: register: with accept nobody is let in for having registered",
		},
		{
			"rates and times of who registers", "version: 1\nunknown: {action: register, rate: 0/min}\nroaming: {match: port, life: 1s}\nguessing: {failures: many, within: 1500ms}\n",
			`2:35: unknown.rate is "0/min": write a number from 1 to 1000000 for each s, min or h, such as 20/min` + "\n" +
				`3:18: roaming.match is "port": write address-port or address` + "\n" +
				"3:30: roaming.life is 1s: write a time from 10s to 8784h\n" +
				`4:22: guessing.failures is "many": write a decimal number from 0 to 1000` + "\n" +
				"4:36: guessing.within is 1500ms: write whole seconds",
		},
		{
			"one failure", "version: 1\nunknown: {action: accept}\nguessing: {failures: 1}\n",
			"3:22: guessing.failures is 1: every phone is refused once before it sends its password; write 2 or more, or 0 for never",
		},
		{
			"guessing without bans", "version: 1\nunknown: {action: accept}\nbans: {duration: 0s}\nguessing: {failures: 5}\n",
			"4:22: guessing bans for bans.duration, which is 0s: set that, or guessing.failures to 0",
		},
		{"an action that is none", "version: 1\nunknown: {action: allow}\n", `2:19: unknown.action is "allow": write drop or register or accept`},
		{
			"User-Agent without engine", "version: 1\nunknown: {action: accept, require_user_agent: [Yealink]}\n",
			"2:48: require_user_agent needs the classifier, which this version does not have: remove it",
		},
		{
			"values of presets", `version: 1
providers:
- preset: twilio
- {name: b, preset: twilio, with: {trnk: mycompany}}
- {name: c, preset: twilio, with: {trunk: mycompany.pstn.twilio.com, edge: dublin}}
- {name: d, preset: twilio, with: {trunk: }}
- {name: e, preset: telnyx, with: {trunk: x}}
- {name: f, addresses: [192.0.2.1], with: {trunk: x}}
- {name: g, preset: twilio, with: [mycompany]}
- {name: h, preset: twilio, with: {trunk: [a]}}
- {name: i, preset: twilio, with: {trunk: a, trunk: b}}
- {name: j, preset: nobody, with: {trunk: a}}
`,
			`3:11: preset "twilio" needs trunk: add with: {trunk: mycompany}, where trunk is the trunk's name
4:21: preset "twilio" needs trunk: add with: {trunk: mycompany}, where trunk is the trunk's name
4:36: preset "twilio" has no "trnk": it takes trunk (the trunk's name)
5:43: trunk is "mycompany.pstn.twilio.com": write the trunk's name, one word of letters, digits and hyphens, such as mycompany
5:70: preset "twilio" has no "edge": it takes trunk (the trunk's name)
6:43: trunk is "": write the trunk's name, one word of letters, digits and hyphens, such as mycompany
7:36: preset "telnyx" takes no values: remove trunk
8:43: with gives values to a preset, and this provider has none: add preset, or remove with
9:21: preset "twilio" needs trunk: add with: {trunk: mycompany}, where trunk is the trunk's name
9:35: want keys with values here, such as {trunk: mycompany}
10:21: preset "twilio" needs trunk: add with: {trunk: mycompany}, where trunk is the trunk's name
10:35: want a single value for each key here, such as {trunk: mycompany}
11:46: "trunk" was already given in line 11: put both together
12:21: there is no preset "nobody": the presets are telnyx, twilio; or list the provider's registrars`,
		},
		{
			"conditions of signatures", "version: 1\nsignatures:\n  deny:\n" +
				"  - {name: a, all: []}\n" +
				"  - {name: b, header: from, exact: x, all: [{header: from, exact: x}]}\n" +
				"  - name: c\n    all:\n    - {header: 'a b', exact: x}\n    - {header: from}\n    - {header: from, contains: '', name: x}\n" +
				"  - {name: d, all: {header: from, exact: x}}\n",
			"4:20: a signature has from 1 to 8 conditions under all, such as {header: user-agent, exact: VOIP}\n" +
				"5:12: a signature has either all, or a header with one of contains, prefix and exact\n" +
				"8:7: a signature needs the header that it is about, such as header: user-agent\n" +
				"9:7: a signature needs one of contains, prefix and exact\n" +
				"10:32: an empty contains matches every message: write what the scanner sends\n" +
				`10:36: unknown key "name": known here are header, contains, prefix, exact` + "\n" +
				"11:20: want a list, such as [a, b] here",
		},
		{
			"signatures", "version: 1\nsignatures:\n  presets: [spammers]\n  deny:\n  - {name: Bad, header: user agent, contains: ''}\n  - {name: a, header: from, prefix: x, exact: y}\n  - {name: a, header: from}\n",
			"3:13: there is no signature list \"spammers\": the lists are scanners\n" +
				"5:12: a signature needs a name of at most 64 lower-case letters, digits and hyphens\n" +
				"5:12: a signature needs the header that it is about, such as header: user-agent\n" +
				"5:47: an empty contains matches every message: write what the scanner sends\n" +
				"6:12: a signature needs one of contains, prefix and exact\n" +
				"7:12: a signature needs one of contains, prefix and exact\n" +
				"7:12: signature \"a\" is already used in line 6: give one of them another name",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parse(test.text)
			if err == nil {
				t.Fatal("the policy was accepted")
			}
			got := strings.ReplaceAll(err.Error(), "policy.yaml:", "")
			if diff := cmp.Diff(strings.Split(test.want, "\n"), strings.Split(got, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func registrarMistakes(line string, texts map[int]string, columns ...int) string {
	var lines []string
	for _, c := range columns {
		lines = append(lines, line+":"+strconv.Itoa(c)+": \""+texts[c]+"\" is not a registrar: write a domain (sip.example.net), an address, host:port or a SIP URI (sip:host:port)")
	}
	return strings.Join(lines, "\n")
}
