//! TLS to a `PostgreSQL` server: what each `sslmode` checks, and whom it trusts. Whether TLS is used
//! at all is what tokio-postgres agrees with the server.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio_postgres::config;
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::{
    Certificate,
    der::{Decode as _, oid::db::rfc4519::COMMON_NAME},
    ext::pkix::SubjectAltName,
};

use crate::{
    db::error::TlsError,
    settings::{PostgresUrl, SslMode},
};

/// What tokio-postgres does of `mode`: it does not look at certificates.
pub(super) fn mode(mode: SslMode) -> config::SslMode {
    match mode {
        SslMode::Disable => config::SslMode::Disable,
        SslMode::Prefer => config::SslMode::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => config::SslMode::Require,
    }
}

/// What checks the server as the URL asks. Reads files.
pub(super) fn connector(url: &PostgresUrl) -> Result<MakeRustlsConnect, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let mode = url.ssl_mode;
    let trusted = match mode {
        SslMode::VerifyCa | SslMode::VerifyFull => {
            Some(TrustedCertificates::read(url.ssl_root_cert.as_ref())?)
        }
        SslMode::Disable | SslMode::Prefer | SslMode::Require => None,
    };
    let verifier = ServerVerifier {
        trusted,
        checks_host: mode == SslMode::VerifyFull,
        algorithms: provider.signature_verification_algorithms,
    };
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut tls = builder.with_no_client_auth();
    if url.config.get_ssl_negotiation() == config::SslNegotiation::Direct {
        // The server refuses TLS from the first byte without this.
        tls.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(MakeRustlsConnect::new(tls))
}

/// Whom the service trusts.
#[derive(Debug)]
struct TrustedCertificates {
    certificates: Vec<CertificateDer<'static>>,
    /// Those of `certificates` that may have issued the server's.
    roots: RootCertStore,
}

impl TrustedCertificates {
    /// Reads them from a PEM file or, without one, takes those that the machine trusts.
    fn read(file: Option<&PathBuf>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let Some(file) = file else {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs.iter().cloned());
            if roots.is_empty() {
                let why = found.errors.first();
                return Err(TlsError::NoRoots(
                    why.map_or_else(String::new, |error| format!(" ({error})")),
                ));
            }
            return Ok(Self {
                certificates: found.certs,
                roots,
            });
        };
        let failed = |reason| TlsError::RootsFile {
            file: file.to_owned(),
            reason,
        };
        // Read here, because the parser does not tell an unreadable file from a malformed one.
        let pem = std::fs::read(file).map_err(|error: io::Error| failed(error.to_string()))?;
        // Some editors begin a file with a byte order mark, and files may have been joined. A certificate
        // behind one would be passed over.
        let pem = String::from_utf8_lossy(&pem).replace('\u{feff}', "");
        if pem.contains("-----BEGIN TRUSTED CERTIFICATE-----") {
            let reason = "a TRUSTED CERTIFICATE is OpenSSL's own form: write it anew with openssl x509 -in … -out …";
            return Err(failed(reason.into()));
        }
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| failed(error.to_string()))?;
        for certificate in &certificates {
            roots
                .add(certificate.clone())
                .map_err(|error| failed(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(failed("there is none".into()));
        }
        Ok(Self {
            certificates,
            roots,
        })
    }
}

/// Checks a server as `sslmode` says. The server must have the certificate's key in any case.
#[derive(Debug)]
struct ServerVerifier {
    /// If this is `None`, whoever issued the certificate is trusted.
    trusted: Option<TrustedCertificates>,
    /// Whether the certificate must name the host.
    checks_host: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Refuses a certificate outside the period for which it was made.
fn verify_period(certificate: &Certificate, now: UnixTime) -> Result<(), CertificateError> {
    let now = Duration::from_secs(now.as_secs());
    let period = &certificate.tbs_certificate.validity;
    if now < period.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet);
    }
    if now > period.not_after.to_unix_duration() {
        return Err(CertificateError::Expired);
    }
    Ok(())
}

/// Refuses a certificate none of whose common names is the host.
fn verify_common_name(
    certificate: &Certificate,
    host: &ServerName<'_>,
) -> Result<(), CertificateError> {
    let subject = certificate.tbs_certificate.subject.0.iter();
    let presented: Vec<String> = subject
        .flat_map(|part| part.0.iter())
        .filter(|attribute| attribute.oid == COMMON_NAME)
        .map(|attribute| String::from_utf8_lossy(attribute.value.value()).into_owned())
        .collect();
    if presented
        .iter()
        .any(|name| name.eq_ignore_ascii_case(&host.to_str()))
    {
        return Ok(());
    }
    Err(CertificateError::NotValidForNameContext {
        expected: host.to_owned(),
        presented,
    })
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, CertificateError> {
    Certificate::from_der(certificate).map_err(|_malformed| CertificateError::BadEncoding)
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(trusted) = &self.trusted else {
            return Ok(ServerCertVerified::assertion());
        };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let certificate = parse(end_entity)?;
        // What OpenSSL's `req -x509` makes is an authority's certificate, too, and rustls does not let such
        // a one be a server's. The operator has named this very certificate, which libpq accepts.
        if trusted.certificates.contains(end_entity) {
            verify_period(&certificate, now)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &trusted.roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        if self.checks_host {
            let names = certificate.tbs_certificate.get::<SubjectAltName>();
            // rustls never looks at the common name, but libpq does in this case.
            if names.is_ok_and(|names| names.is_none()) {
                verify_common_name(&certificate, server_name)?;
            } else {
                verify_server_name(&parsed, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roots_file_without_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let refusal = || {
            let roots = file.display();
            let url = format!("postgres://ana@h/d?sslmode=verify-full&sslrootcert={roots}");
            connector(&url.parse().unwrap()).err().unwrap().to_string()
        };
        assert!(refusal().contains("No such file"), "{}", refusal());
        for text in [
            "",
            "not PEM",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n",
        ] {
            std::fs::write(&file, text).unwrap();
            let refusal = refusal();
            let start = format!("cannot take certificates from {}: ", file.display());
            assert!(refusal.starts_with(&start), "{refusal}");
        }
    }

    #[test]
    fn no_certificate_behind_a_byte_order_mark_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let pem = ["one", "two"].map(|host| {
            let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
            format!("\u{feff}{}", made.cert.pem())
        });
        std::fs::write(&file, pem.concat()).unwrap();
        assert_eq!(
            TrustedCertificates::read(Some(&file)).unwrap().roots.len(),
            2
        );
    }
}
