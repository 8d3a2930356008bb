package phone_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/ringfence/ringfence/pkg/phone"
	"github.com/ringfence/ringfence/rules"
)

// shipped returns the makers that ringfence ships.
func shipped(t testing.TB) []phone.Maker {
	t.Helper()
	makers, err := readShipped()
	if err != nil {
		t.Fatal(err)
	}
	return makers
}

var readShipped = sync.OnceValues(func() ([]phone.Maker, error) {
	files, err := rules.Phones()
	if err != nil {
		return nil, err
	}
	return phone.Read(files)
})

func maker(t testing.TB, name string) phone.Maker {
	t.Helper()
	m, ok := phone.Find(shipped(t), name)
	if !ok {
		t.Fatalf("there is no maker %q", name)
	}
	return m
}

func TestFind(t *testing.T) {
	for _, test := range []struct{ name, want string }{
		{"yealink", "yealink"},
		{"Yealink", "yealink"},
		{"Poly", "polycom"},
		{"Polycom", "polycom"},
		{"MITEL", "aastra"},
		{"Aastra", "aastra"},
		{"linksys", "cisco"},
		{"Obihai", "obi"},
		{"nokia", ""},
		{"", ""},
	} {
		m, ok := phone.Find(shipped(t), test.name)
		if m.Name != test.want || ok != (test.want != "") {
			t.Errorf("%q is %q, want %q", test.name, m.Name, test.want)
		}
	}
}

// TestModels checks which family is found for names as people write them.
func TestModels(t *testing.T) {
	for _, test := range []struct{ maker, model, firmware, want string }{
		{"yealink", "T46S", "86", "T, AX, CP and VP phones, W DECT bases"},
		{"yealink", "sip-t46s", "V86", "T, AX, CP and VP phones, W DECT bases"},
		{"yealink", "Yealink SIP-T46S", "66.86.0.15", "T, AX, CP and VP phones, W DECT bases"},
		{"yealink", "CP920", "", "T, AX, CP and VP phones, W DECT bases"},
		{"grandstream", "HT802", "", "HT802"},
		{"grandstream", "Grandstream HT 802 v2", "1.0.1", "HT802"},
		{"grandstream", "gxp2160", "", "GXP2130, 2135, 2140, 2160, 2170"},
		{"grandstream", "GXP2124", "", "GXP2100, 2110, 2120, 2124"},
		{"polycom", "VVX 450", "", "SoundPoint IP, SoundStation IP and Duo, VVX, CCX, Edge E"},
		{"polycom", "Polycom SoundPoint IP 650", "3.3.1", "SoundPoint IP, SoundStation IP and Duo, VVX, CCX, Edge E"},
		{"snom", "snom D785", "", "300, 320, 3xx, 7xx, 8xx, Dxxx, PA1"},
		{"snom", "M100 KLE", "", "M100 KLE, M500 KLE"},
		{"cisco", "CP-8841", "", "Multiplatform phones 68xx, 78xx, 88xx"},
		{"cisco", "SPA504G", "", "SPA3xx, SPA5xx, SPA9xx"},
		{"cisco", "ATA 192", "", "SPA112, SPA122, SPA2102, SPA3102, ATA191, ATA192"},
		{"fanvil", "X4", "1.4.2", "X2P, X3G, X3SP, X4, X4G, i30, H5 before about 2.2.10"},
		{"fanvil", "X4", "2.2.10", "X1S to X7C, X210, V62 to V67, H2U, W611W and others from about 2.2.10 on"},
		{"fanvil", "X4U", "", "X1S to X7C, X210, V62 to V67, H2U, W611W and others from about 2.2.10 on"},
		{"obi", "OBi202", "", "OBi 200, 202, 300, 302, 1032, 1062"},
		{"obi", "VVX D230", "", "VVX D230"},
		{"mitel", "6867i", "", "53i, 55i, 57i, 67xxi, 68xxi, 91xxi, 94xxi"},
		{"audiocodes", "MP-118", "", "MediaPack MP-112, MP-114, MP-118, MP-124"},
	} {
		s, err := maker(t, test.maker).Snippet(phone.Options{Model: test.model, Firmware: test.firmware})
		if err != nil || s.Family != test.want {
			t.Errorf("%s %s with %q: %q (%v), want %q", test.maker, test.model, test.firmware, s.Family, err, test.want)
		}
	}
	if found := phone.WithModel(shipped(t), "HT802"); len(found) != 1 || found[0].Name != "grandstream" {
		t.Errorf("HT802 is of %d makers", len(found))
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct {
		name, maker string
		options     phone.Options
		want        string
		model       bool
	}{
		{"a model that is not there", "polycom", phone.Options{Model: "VVX D230"}, `unknown model: nothing is known about a Polycom "VVX D230"`, true},
		{"models differ", "grandstream", phone.Options{}, "unknown model: the phones of Grandstream need different settings, so name a model", true},
		{"the maker's name is no model", "grandstream", phone.Options{Model: "Grandstream"}, `unknown model: nothing is known about a Grandstream "Grandstream"`, true},
		{"no version", "yealink", phone.Options{Firmware: "newest"}, `firmware "newest" is not a version: write it like 86, or V86, or 66.86.0.15`, false},
		{"half a version", "yealink", phone.Options{Firmware: "66."}, `firmware "66." is not a version: write it like 86, or V86, or 66.86.0.15`, false},
		{"more accounts than keys", "grandstream", phone.Options{Model: "HT802", Accounts: 3}, "Grandstream (HT802) has 2 accounts as far as is known, and 3 were asked for", false},
		{"no port", "yealink", phone.Options{Port: 65536}, "a phone cannot use port 65536: choose one from 1024 to 65535", false},
		{"a port below all", "yealink", phone.Options{Port: -1}, "a phone cannot use port -1: choose one from 1024 to 65535", false},
		{"no port for the last account", "grandstream", phone.Options{Model: "HT802", Accounts: 2, Port: 65534}, "a phone cannot use port 65534: choose one from 1024 to 65535", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := maker(t, test.maker).Snippet(test.options)
			if err == nil || err.Error() != test.want || errors.Is(err, phone.ErrModel) != test.model {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

// written returns the settings of a snippet that are written, and those that are only
// shown as comments.
func written(t *testing.T, m phone.Maker, o phone.Options) (written, shown []string) {
	t.Helper()
	s, err := m.Snippet(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range s.Lines {
		if l.Optional == "" {
			written = append(written, l.Key+"="+l.Value)
		} else {
			shown = append(shown, l.Key+"="+l.Value)
		}
	}
	return written, shown
}

// TestYealinkFirmware covers the versions at which the names changed; one source says
// V80, another V81.
func TestYealinkFirmware(t *testing.T) {
	const old, now = "account.1.sip_trust_ctrl=1", "sip.trust_ctrl=1"
	for _, test := range []struct{ firmware, want string }{
		{"73", old},
		{"28.73.0.50", old},
		{"79", old},
		{"80", now + " " + old},
		{"81", now},
		{"v86", now},
		{"66.86.0.15", now},
		{"100", now},
		{"", now + " " + old},
	} {
		lines, _ := written(t, maker(t, "yealink"), phone.Options{Model: "T46S", Firmware: test.firmware})
		if want := test.want + " features.direct_ip_call_enable=0"; strings.Join(lines, " ") != want {
			t.Errorf("firmware %q: %q, want %q", test.firmware, lines, want)
		}
	}
}

func TestPorts(t *testing.T) {
	for _, test := range []struct {
		maker   string
		options phone.Options
		want    string
	}{
		{"grandstream", phone.Options{Model: "HT802", Accounts: 2}, ""},
		{"grandstream", phone.Options{Model: "HT802", Accounts: 2, Port: 5070}, "P40=5070 P740=5072"},
		{"grandstream", phone.Options{Model: "GRP2614", Accounts: 5, Port: 5070}, "P40=5070 P413=5072 P513=5074 P613=5076 P713=5078"},
		{"cisco", phone.Options{Model: "SPA122", Accounts: 2, Port: 5070}, "SIP_Port_1_=5070 SIP_Port_2_=5071"},
		{"gigaset", phone.Options{Model: "N720", Port: 5070}, "BS_VOIP_Data.uiI_SIP_LOCAL_PORT=0x13ce BS_VOIP_Data.ucB_USE_RANDOM_PORT=0"},
		{"yealink", phone.Options{Model: "T46S", Port: 5070}, "sip.listen_port=5070"},
		{"yealink", phone.Options{Model: "W60B", Port: 5070, Accounts: 2}, "account.1.sip_listen_port=5070 account.2.sip_listen_port=5072"},
	} {
		with, _ := written(t, maker(t, test.maker), test.options)
		test.options.Port = 0
		without, _ := written(t, maker(t, test.maker), test.options)
		var more []string
		for _, line := range with {
			if !strings.Contains(strings.Join(without, " ")+" ", line+" ") {
				more = append(more, line)
			}
		}
		if got := strings.Join(more, " "); got != test.want {
			t.Errorf("%s %+v: a port adds %q, want %q", test.maker, test.options, got, test.want)
		}
	}
}

// TestSRV: for a provider with SRV records, the phone's server setting must have no
// port.
func TestSRV(t *testing.T) {
	for name, want := range map[string]string{
		"yealink": "account.1.sip_server.1.port=0 account.1.sip_server.1.transport_type=3",
		"polycom": "reg.1.server.1.port=0 reg.1.server.1.transport=DNSnaptr",
		"aastra":  "sip dns query type=2 sip line1 proxy port=0 sip line1 registrar port=0",
	} {
		without, _ := written(t, maker(t, name), phone.Options{})
		with, _ := written(t, maker(t, name), phone.Options{SRV: true})
		if got := strings.Join(with[len(without):], " "); got != want {
			t.Errorf("%s: SRV adds %q, want %q", name, got, want)
		}
	}
}
