//! Which certificates are believed: those of a given CA, else the public roots that were compiled in. Must not read
//! certificates of the machine, which an initramfs has none of.

use std::{error::Error, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{FetchError, shown};

/// The TLS configuration of a client for `url`; `ca` in place of the public roots.
///
/// # Errors
/// [`FetchError::InvalidCa`] when the certificates are no PEM, none at all or no certificates.
pub(crate) fn roots(url: &str, ca: Option<&str>) -> Result<ClientConfig, FetchError> {
    let roots = match ca {
        Some(pem) => given(pem).map_err(|error| FetchError::InvalidCa { url: shown(url), source: error })?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::Client(error.into()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn given(pem: &str) -> Result<RootCertStore, Box<dyn Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err("no certificate is in them".into()) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(pem: &str) -> String {
        let error = roots("https://a.test/?secret", Some(pem)).unwrap_err();
        assert_eq!(error.to_string(), "cannot use the CA certificates for https://a.test/");
        error.source().unwrap().to_string()
    }

    #[test]
    fn certificates_that_are_none() {
        assert_eq!(fault(""), "no certificate is in them");
        assert_eq!(fault("/etc/ssl/ca.pem"), "no certificate is in them");
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert_eq!(fault(&key), "no certificate is in them");
        let open = fault("-----BEGIN CERTIFICATE-----\nAAAA\n");
        assert!(open.contains("section end"), "{open}");
        let empty = fault("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(empty.contains("BadEncoding"), "{empty}");
    }

    #[test]
    fn the_public_roots_are_there() {
        assert!(roots("https://a.test/", None).is_ok());
        assert!(webpki_roots::TLS_SERVER_ROOTS.len() > 50);
    }
}
