package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// A cluster of this kind lives for days; ten years means that nobody ever has to renew anything.
const lifetime = 10 * 365 * 24 * time.Hour

type certificateOrder struct {
	Directory    string `json:"directory"`
	Certificates []struct {
		Name         string   `json:"name"`
		CommonName   string   `json:"commonName"`
		Organization []string `json:"organization"`
		Hosts        []string `json:"hosts"`
	} `json:"certificates"`
	// Key pairs without a certificate, such as the one that signs service account tokens.
	Keys []string `json:"keys"`
}

// certificates reads an order as JSON from standard input and writes ca.crt, ca.key, and a NAME.crt
// and NAME.key for each certificate ordered, signed by that authority.
func certificates() error {
	var order certificateOrder
	if err := json.NewDecoder(os.Stdin).Decode(&order); err != nil {
		return fmt.Errorf("reading the order: %w", err)
	}
	caKey, err := writeKey(order.Directory, "ca")
	if err != nil {
		return err
	}
	ca := template("preamar-ca", nil, nil)
	ca.IsCA = true
	ca.BasicConstraintsValid = true
	ca.KeyUsage |= x509.KeyUsageCertSign
	if err := writeCertificate(order.Directory, "ca", ca, ca, caKey.Public(), caKey); err != nil {
		return err
	}
	for _, wanted := range order.Certificates {
		key, err := writeKey(order.Directory, wanted.Name)
		if err != nil {
			return err
		}
		leaf := template(wanted.CommonName, wanted.Organization, wanted.Hosts)
		if err := writeCertificate(order.Directory, wanted.Name, leaf, ca, key.Public(), caKey); err != nil {
			return err
		}
	}
	for _, name := range order.Keys {
		if _, err := writeKey(order.Directory, name); err != nil {
			return err
		}
	}
	return nil
}

func template(commonName string, organization, hosts []string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // no randomness: nothing that follows would be safe
	}
	now := time.Now()
	made := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName, Organization: organization},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			made.IPAddresses = append(made.IPAddresses, address)
		} else {
			made.DNSNames = append(made.DNSNames, host)
		}
	}
	return made
}

func writeKey(directory, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := writePEM(filepath.Join(directory, name+".key"), "EC PRIVATE KEY", private); err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return key, writePEM(filepath.Join(directory, name+".pub"), "PUBLIC KEY", public)
}

func writeCertificate(directory, name string, made, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, made, parent, public, signer)
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(directory, name+".crt"), "CERTIFICATE", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
