// Package guarantee says what a configuration promises: for each fault what
// happens, by which mechanism and within which window, and which
// configurations are refused because they cannot hold. It is data and pure
// functions: it opens nothing and links no driver.
//
// The outcomes are few:
//
//	once              takes effect once
//	once or aside     takes effect once, or lies aside with its bytes and the reason
//	absorbed          the repeat is recognised and changes nothing
//	stale             the row has that version or state already, or a later one; nothing changes
//	waits             nothing happens until somebody acts; nothing is lost
//	refused           rollcall stops and says why; nothing is lost
//	lost, counted     gone before it was worked off; counted as missing
//	twice possible    a repeat may take effect again
//	not promised      whatever happens, do not count on it
package guarantee
