package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"

	"github.com/rollcall-mq/rollcall/pipeline"
)

// encrypted is how connections to a broker are, nil: the driver's default.
func encrypted(a *app, broker string, t *pipeline.TLS, bad wrong) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	if t.SkipVerify {
		a.note("warning: %s: tls.skip_verify takes any certificate: anybody between can read and change what is sent", broker)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.SkipVerify}
	if t.CA != "" {
		pem, err := readSmall(t.CA)
		if err != nil {
			return nil, bad("tls.ca", "name a PEM file that can be read", err.Error())
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, bad("tls.ca", "it begins with -----BEGIN CERTIFICATE-----", t.CA+" holds no certificate in PEM")
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, bad("tls.cert", "name PEM files: the certificate, and its private key", err.Error())
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// mostToken bounds a file that holds a token or certificates.
const mostToken = 1 << 20

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostToken+1))
	if err == nil && len(data) > mostToken {
		err = fmt.Errorf("%s has more than %d bytes", path, mostToken)
	}
	return data, err
}
