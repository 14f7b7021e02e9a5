package sandbox

import (
	"path/filepath"
	"strings"

	"sbx/host"
)

// certificateFiles are variables that name a file of certificates whom to believe beside or instead of the
// system's, as a host behind a proxy that opens TLS needs it.
var certificateFiles = []string{
	"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO",
	"PIP_CERT", "CARGO_HTTP_CAINFO", "AWS_CA_BUNDLE", "DENO_CERT", "NIX_SSL_CERT_FILE",
}

// findCertificates passes these variables, and notes the files to be shown. A file that holds anything but
// certificates, a key above all, is not one of them: then the variable stays outside.
func (e *Egress) findCertificates(f *finder) {
	for _, name := range certificateFiles {
		path := f.variable(name)
		if !filepath.IsAbs(path) {
			continue
		}
		text := readPlain(path)
		if len(text) == maxPlain || !strings.Contains(text, "-----BEGIN CERTIFICATE-----") && !strings.Contains(text, "-----BEGIN TRUSTED CERTIFICATE-----") || strings.Contains(text, "PRIVATE KEY") {
			continue
		}
		f.set[name] = filepath.Clean(path)
		e.Certificates = append(e.Certificates, filepath.Clean(path))
	}
}

// certificates shows the files of certificates, read-only, where they are not seen anyway. The variables of
// those that cannot be shown stay outside.
func (l *layout) certificates(s *Spec) {
	for _, path := range s.Egress.Certificates {
		if l.certificate(s, path) {
			continue
		}
		for name, value := range s.Egress.set {
			if value == path {
				delete(s.Egress.set, name)
			}
		}
	}
}

func (l *layout) certificate(s *Spec, path string) bool {
	target := l.throughLinks(path)
	source, _ := l.shows(target)
	if source != "" {
		return true
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil || l.refuseOwn(real) != nil || l.checkTarget(target, false) != nil {
		return false
	}
	if dir := s.Project.Dir; dir != "" && (host.Within(real, dir) || host.Within(path, dir)) {
		return false // the project hides it
	}
	return l.bind(real, target, false) == nil
}
