package signaturetest

// Svmap is a message of svmap, byte for byte.
const Svmap = "" +
	"OPTIONS sip:100@127.0.0.2 SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK-375555625;rport\r\n" +
	"Max-Forwards: 70\r\n" +
	"To: \"sipvicious\"<sip:100@1.1.1.1>\r\n" +
	"From: \"sipvicious\"<sip:100@1.1.1.1>;tag=3766303030303032313363340133323933323633393136\r\n" +
	"User-Agent: friendly-scanner\r\n" +
	"Call-ID: 1002083192980685703123224\r\n" +
	"Contact: sip:100@127.0.0.1:5061\r\n" +
	"CSeq: 1 OPTIONS\r\n" +
	"Accept: application/sdp\r\n" +
	"Content-Length: 0\r\n" +
	"\r\n"

// Invite is a call from a provider, 937 bytes.
const Invite = "" +
	"INVITE sip:+4930123456@198.51.100.10:5060;transport=udp SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 203.0.113.5:5060;branch=z9hG4bK0d7fe4f2bc3a1a9e;rport\r\n" +
	"Record-Route: <sip:203.0.113.5;lr;ftag=as5e8bd1a4>\r\n" +
	"Max-Forwards: 69\r\n" +
	"From: \"Alice MMMMMMMMMMMMMMMMMM Example\" <sip:+4915112345678@sip.provider.example>;tag=as5e8bd1a4\r\n" +
	"To: <sip:+4930123456@sip.provider.example>\r\n" +
	"Contact: <sip:+4915112345678@203.0.113.5:5060;transport=udp>\r\n" +
	"Call-ID: 5ad2f8d27b0e4f116b5f1c2f0f4c5c55@203.0.113.5:5060\r\n" +
	"CSeq: 102 INVITE\r\n" +
	"User-Agent: Provider SBC 7.4.2\r\n" +
	"Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH\r\n" +
	"Supported: replaces, timer\r\n" +
	"Content-Type: application/sdp\r\n" +
	"Content-Length: 250\r\n" +
	"\r\n" +
	"v=0\r\n" +
	"o=root 1821637216 1821637216 IN IP4 203.0.113.6\r\n" +
	"s=Provider SBC\r\n" +
	"c=IN IP4 203.0.113.6\r\n" +
	"t=0 0\r\n" +
	"m=audio 14522 RTP/AVP 8 0 101\r\n" +
	"a=rtpmap:8 PCMA/8000\r\n" +
	"a=rtpmap:0 PCMU/8000\r\n" +
	"a=rtpmap:101 telephone-event/8000\r\n" +
	"a=fmtp:101 0-16\r\n" +
	"a=ptime:20\r\n" +
	"a=sendrecv\r\n"
