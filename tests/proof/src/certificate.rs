//! Certificates that only the tests trust, made anew each time.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName},
    },
};

/// What certificates and connections of the tests are for.
pub const NAME: &str = "localhost";

/// A certificate that vouches for itself, and its key.
#[derive(Debug)]
pub struct Identity {
    /// As servers show it.
    pub der: CertificateDer<'static>,
    /// In PEM.
    pub certificate: String,
    /// In PEM.
    pub key: String,
}

impl Identity {
    /// For [`NAME`] and 127.0.0.1.
    pub fn new() -> io::Result<Self> {
        let names = [NAME, "127.0.0.1"].map(str::to_owned);
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).map_err(io::Error::other)?;
        Ok(Self { der: cert.der().clone(), certificate: cert.pem(), key: signing_key.serialize_pem() })
    }

    /// Where a folder has the certificate and the key.
    pub fn files(folder: &Path) -> [PathBuf; 2] {
        ["certificate.pem", "key.pem"].map(|name| folder.join(name))
    }

    /// Puts both into a folder, in the place of those that are there, each at once as `mv` would.
    pub fn put(&self, folder: &Path) -> io::Result<()> {
        for (file, text) in Self::files(folder).iter().zip([&self.certificate, &self.key]) {
            let new = file.with_extension("new");
            fs::write(&new, text)?;
            fs::rename(&new, file)?;
        }
        Ok(())
    }
}

/// Who connects to servers that show one of these, and offers these protocols (RFC 7301).
pub fn connector(trusted: &[&Identity], protocols: &[&[u8]]) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for identity in trusted {
        roots.add(identity.der.clone()).map_err(io::Error::other)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config).into())
}

/// [`NAME`], as a client names it.
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a name of DNS")
}
