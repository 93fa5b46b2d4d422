package httpsend

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
)

// guard looks at the address that is about to be connected to: after DNS, so
// that a name that resolves to something else the second time gains nothing.
type guard struct {
	allowed   []netip.Prefix
	encrypted bool
}

func (g guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("httpsend: network %s is refused", network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("httpsend: address %s: %w", address, err)
	}
	return g.check(to.Addr())
}

func (g guard) check(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	for _, p := range g.allowed {
		if p.Contains(ip) {
			return nil
		}
	}
	if !g.encrypted {
		return fmt.Errorf("httpsend: %s is in none of the listed networks, and http is for those only: use https", ip)
	}
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return fmt.Errorf("httpsend: %s is a private, local or special address: list it if it is meant", ip)
	}
	for _, p := range special {
		if p.Contains(ip) {
			return fmt.Errorf("httpsend: %s is a special address (%s): list it if it is meant", ip, p)
		}
	}
	return nil
}

// special addresses are not private by name, and still lead inside or nowhere.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),    // carriers; metadata of one cloud
	netip.MustParsePrefix("168.63.129.16/32"), // metadata of another
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b::/96"), // these carry IPv4 addresses inside
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("fec0::/10"),
}
