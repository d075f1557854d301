//! TLS in front of a server: a certificate authority of its own, and certificates that are good, for another host, or
//! expired.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::Server;
use super::listening::Listening;

/// What a server shows when it is asked who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Certificate {
    /// That it is `localhost` and `127.0.0.1`.
    Good,
    /// That it is another host.
    OfAnotherHost,
    /// That it was `localhost` and `127.0.0.1`, once.
    Expired,
}

/// TLS in front of a server, until this is dropped.
pub(crate) struct Tls {
    /// The server as it is seen through it.
    pub(crate) server: Server,
    _listening: Listening,
    _folder: TempDir,
}

impl Tls {
    /// Puts TLS in front of a server.
    pub(crate) fn before(server: &Server, certificate: Certificate) -> Self {
        let authority = authority("the stories' authority");
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).unwrap();
        let listening = listen(server.endpoint.clone(), configuration(&authority, certificate));
        let server = Server { ca: Some(ca), endpoint: format!("localhost:{}", listening.port()), ..server.clone() };
        Self { server, _listening: listening, _folder: folder }
    }
}

/// Writes the certificate of an authority that vouches for nobody, and returns where.
pub(crate) fn foreign_authority(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("foreign-ca.pem");
    std::fs::write(&path, authority("another authority").pem()).unwrap();
    path
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn configuration(authority: &CertifiedIssuer<'_, KeyPair>, certificate: Certificate) -> ServerConfig {
    let hosts: &[&str] = match certificate {
        Certificate::OfAnotherHost => &["another.example"],
        Certificate::Good | Certificate::Expired => &["localhost", "127.0.0.1"],
    };
    let mut params = CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if matches!(certificate, Certificate::Expired) {
        params.not_after = date_time_ymd(2020, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let chain = vec![params.signed_by(&key, authority).unwrap().der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let versions = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    versions.with_no_client_auth().with_single_cert(chain, key).unwrap()
}

fn listen(upstream: String, configuration: ServerConfig) -> Listening {
    let acceptor = TlsAcceptor::from(Arc::new(configuration));
    Listening::new(move |socket| {
        let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
        async move {
            // A client that does not trust the certificate hangs up: that is its story.
            let Ok(mut client) = acceptor.accept(socket).await else { return };
            let mut server = TcpStream::connect(upstream).await.unwrap();
            server.set_nodelay(true).unwrap();
            drop(copy_bidirectional(&mut client, &mut server).await);
        }
    })
}
