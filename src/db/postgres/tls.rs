//! TLS to a `PostgreSQL` server: what each `sslmode` checks, and whom it trusts. Whether TLS is used
//! at all is what tokio-postgres agrees with the server.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio_postgres::config;
use tokio_postgres_rustls::MakeRustlsConnect;

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
    let mode = url.ssl_mode();
    let trusted = match mode {
        SslMode::VerifyCa | SslMode::VerifyFull => Some(Arc::new(trusted(url.ssl_root_cert())?)),
        SslMode::Disable | SslMode::Prefer | SslMode::Require => None,
    };
    let builder = match trusted {
        Some(roots) if mode == SslMode::VerifyFull => builder.with_root_certificates(roots),
        trusted => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyHost::new(trusted, &provider))),
    };
    let mut tls = builder.with_no_client_auth();
    if url.config().get_ssl_negotiation() == config::SslNegotiation::Direct {
        // The server refuses TLS from the first byte without this.
        tls.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(MakeRustlsConnect::new(tls))
}

fn trusted(file: Option<&PathBuf>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first();
            return Err(TlsError::NoRoots(
                why.map_or_else(String::new, |error| format!(" ({error})")),
            ));
        }
        return Ok(roots);
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
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("there is none".into()));
    }
    Ok(roots)
}

/// Accepts a server whatever host its certificate names and, without roots, whoever issued it. The
/// server must have the certificate's key in any case.
#[derive(Debug)]
struct AnyHost {
    roots: Option<Arc<RootCertStore>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyHost {
    fn new(roots: Option<Arc<RootCertStore>>, provider: &CryptoProvider) -> Self {
        Self {
            roots,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
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
        assert_eq!(trusted(Some(&file)).unwrap().len(), 2);
    }
}
