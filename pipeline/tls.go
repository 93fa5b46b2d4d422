package pipeline

import (
	"net"
	"strconv"
)

// TLS is how connections are encrypted: TLS 1.2 or newer.
type TLS struct {
	// CA is a PEM file of the authorities that are believed; relative to the pipeline
	// file, as the others. Default: the system's.
	CA string `yaml:"ca"`
	// Cert is a PEM file of our own certificate, for servers that ask for one. Default:
	// none.
	Cert string `yaml:"cert"`
	// Key is the PEM file of its private key. Default: none.
	Key string `yaml:"key"`
	// ServerName is the name that the server's certificate must have. Default: the host
	// that is connected to.
	ServerName string `yaml:"server_name"`
	// SkipVerify takes any certificate, so that anybody between can read and change
	// what is sent; each start warns of it. Default: false.
	SkipVerify bool `yaml:"skip_verify"`
}

func (t *TLS) faults(of string) []fault {
	switch {
	case t == nil || (t.Cert == "") == (t.Key == ""):
		return nil
	case t.Key == "":
		return []fault{{"tls.cert", "add key: the PEM file of its private key", of + ": tls: cert is given, but no key"}}
	}
	return []fault{{"tls.key", "add cert: the PEM file of the certificate", of + ": tls: key is given, but no cert"}}
}

// isAddress: host:port.
func isAddress(text string) bool {
	host, port, err := net.SplitHostPort(text)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && host != "" && bad == nil && n > 0
}

// BesideTLS is a section's TLS with the paths as they are to be opened.
func (f *File) BesideTLS(t *TLS) *TLS {
	if t == nil {
		return nil
	}
	out := *t
	for _, path := range []*string{&out.CA, &out.Cert, &out.Key} {
		if *path != "" {
			*path = f.beside(*path)
		}
	}
	return &out
}
