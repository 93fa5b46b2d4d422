package httpsend

import (
	"net/netip"
	"testing"
)

func TestGuard(t *testing.T) {
	public := []string{"8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"}
	inside := []string{"127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "fe80::1",
		"fe80::1%eth0", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
		"64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.0.1"}
	g := guard{encrypted: true}
	for _, ip := range public {
		if err := g.check(netip.MustParseAddr(ip)); err != nil {
			t.Errorf("%s: %v", ip, err)
		}
		if (guard{}).check(netip.MustParseAddr(ip)) == nil {
			t.Errorf("%s was let pass without encryption", ip)
		}
	}
	for _, ip := range inside {
		if g.check(netip.MustParseAddr(ip)) == nil {
			t.Errorf("%s was let pass", ip)
		}
	}
	listed := guard{allowed: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	for ip, want := range map[string]bool{"10.2.3.4": true, "::ffff:10.2.3.4": true, "fd00::1": true, "192.168.1.1": false, "127.0.0.1": false} {
		if got := listed.check(netip.MustParseAddr(ip)) == nil; got != want {
			t.Errorf("%s: let pass %v, want %v", ip, got, want)
		}
	}
}
