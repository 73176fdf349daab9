//! Servers over TLS, with a CA of this program's own.

use std::sync::Arc;

use cloud_machine_fetch::{FetchError, Fetched, Names, Source, fetch};
use cloud_machine_protocol::causes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::server::{Server, good, limits, redirect};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server's configuration with a certificate for `name`, changed by `change`.
    pub(crate) fn certify(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }
}

fn server(config: Arc<ServerConfig>, answer: String) -> Server {
    Server::start_tls(config, move |_, connection| connection.write_all(answer.as_bytes()))
}

fn get(server: &Server, ca: Option<&str>) -> Result<Fetched, FetchError> {
    fetch(&Source { url: &server.address, sha256: None, ca }, &limits(3), &Names::System, &|_, _| {})
}

/// The refusal's text after the clock.
fn refused(server: &Server, ca: Option<&str>) -> String {
    let error = get(server, ca).unwrap_err();
    let text = causes(&error);
    let start = format!("the certificate for {}/ is not accepted; this machine's clock says ", server.address);
    let (clock, causes) = text.strip_prefix(&start).and_then(|rest| rest.split_once(": ")).expect(&text);
    assert!(clock.len() == "2000-01-01T00:00:00Z".len() && clock.ends_with('Z'), "{text}");
    assert_eq!(server.requests().len(), 0, "nothing was asked");
    causes.to_owned()
}

#[test]
fn a_server_of_the_given_authority_is_believed() {
    let authority = Authority::new();
    let server = server(authority.certify("127.0.0.1", |_| {}), good("seed"));
    assert_eq!(get(&server, Some(&authority.pem)).unwrap().bytes, b"seed");
    let two = format!("# ours\n{}\n{}", Authority::new().pem, authority.pem);
    assert_eq!(get(&server, Some(&two)).unwrap().bytes, b"seed");
}

#[test]
fn a_server_of_another_authority_is_refused_at_once() {
    let authority = Authority::new();
    let server = server(authority.certify("127.0.0.1", |_| {}), good("seed"));
    for ca in [None, Some(Authority::new().pem.as_str())] {
        let causes = refused(&server, ca);
        assert!(causes.contains("UnknownIssuer") || causes.contains("BadSignature"), "{causes}");
    }
}

#[test]
fn a_certificate_for_another_name_or_time_is_refused() {
    let authority = Authority::new();
    let other = server(authority.certify("seed.test", |_| {}), good("seed"));
    let causes = refused(&other, Some(&authority.pem));
    assert!(causes.contains("not valid for name"), "{causes}");
    let old = authority.certify("127.0.0.1", |params| params.not_after = date_time_ymd(2001, 1, 1));
    let causes = refused(&server(old, good("seed")), Some(&authority.pem));
    assert!(causes.contains("certificate expired"), "{causes}");
}

#[test]
fn https_is_not_left_for_http() {
    let authority = Authority::new();
    let open = Server::say([good("seed")]);
    let server = server(authority.certify("127.0.0.1", |_| {}), redirect(&open.address));
    let error = get(&server, Some(&authority.pem)).unwrap_err();
    let expected = format!("refused to follow {}/ to {}/: https is not left for http", server.address, open.address);
    assert_eq!(causes(&error), expected);
    assert!(open.requests().is_empty());
}

#[test]
fn http_may_be_left_for_https() {
    let authority = Authority::new();
    let end = server(authority.certify("127.0.0.1", |_| {}), good("seed"));
    let start = Server::say([redirect(&end.address)]);
    assert_eq!(get(&start, Some(&authority.pem)).unwrap().bytes, b"seed");
}

#[test]
fn a_document_cut_inside_tls_is_truncated() {
    let authority = Authority::new();
    // No length, and no end of the TLS session either.
    let cut = server(authority.certify("127.0.0.1", |_| {}), "HTTP/1.1 200 OK\r\n\r\n#cloud".to_owned());
    let source = Source { url: &cut.address, sha256: None, ca: Some(&authority.pem) };
    let error = fetch(&source, &limits(1), &Names::System, &|_, _| {}).unwrap_err();
    assert!(causes(&error).contains("broke off after 6 bytes"), "{error:?}");
}
