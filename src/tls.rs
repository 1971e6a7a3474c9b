//! TLS: the certificate that the port shows, and how a new one takes its place while connections go on.
//!
//! A handshake shows whatever certificate is current, so nobody has to leave when it is replaced.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use serde::Deserialize;
use thiserror::Error;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

use crate::{hangup::Hangup, metrics::Metrics};

/// The section `[tls]`. Without files the port speaks plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and those that vouch for it, PEM, the server's own first.
    pub certificate_file: Option<PathBuf>,
    /// The private key of the certificate, PEM.
    pub key_file: Option<PathBuf>,
    /// How often the files are looked at, in milliseconds; SIGHUP has them looked at in any case.
    pub reload_ms: u64,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { certificate_file: None, key_file: None, reload_ms: 10_000 }
    }
}

impl TlsConfig {
    /// What may stand in `reload_ms`.
    pub const RELOAD_RANGE: [u64; 2] = [100, 86_400_000];

    /// Whether the port speaks TLS.
    pub fn is_on(&self) -> bool {
        self.certificate_file.is_some() || self.key_file.is_some()
    }

    /// Reads and checks the files; nothing where TLS is off.
    pub fn load(&self) -> Result<Option<Identity>, TlsError> {
        match (&self.certificate_file, &self.key_file) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Identity::read(certificate, key).map(Some),
            (Some(_), None) => Err(TlsError::Half { missing: "key_file" }),
            (None, Some(_)) => Err(TlsError::Half { missing: "certificate_file" }),
        }
    }
}

/// Why TLS cannot be spoken. Holds nothing of the key.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum TlsError {
    #[error("`{missing}` is missing: TLS needs a certificate and its key")]
    Half { missing: &'static str },
    #[error("cannot read {file}: {error}", file = file.display())]
    Unreadable { file: PathBuf, error: io::Error },
    #[error("{file} holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)", file = file.display())]
    NoCertificate { file: PathBuf },
    #[error(
        "{file} holds no private key in PEM (`-----BEGIN PRIVATE KEY-----`); an encrypted one cannot be read",
        file = file.display()
    )]
    NoKey { file: PathBuf },
    #[error("the key is not that of the certificate")]
    Strangers,
    #[error("the certificate or its key cannot be used: {0}")]
    Unusable(String),
}

/// A certificate and its key, ready to be shown.
#[derive(Clone)]
pub struct Identity {
    shown: Arc<CertifiedKey>,
    /// Whom the certificate names.
    pub names: Vec<String>,
    /// When it ends, Unix seconds.
    pub expires: i64,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("names", &self.names).field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Identity {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let unreadable = |file: &Path, error| TlsError::Unreadable { file: file.to_owned(), error };
        let text = |file: &Path| fs::read(file).map_err(|error| unreadable(file, error));
        let (chain, private) = (text(certificate)?, text(key)?);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
            .collect::<Result<_, pem::Error>>()
            .map_err(|_| TlsError::NoCertificate { file: certificate.to_owned() })?;
        let own = chain.first().ok_or_else(|| TlsError::NoCertificate { file: certificate.to_owned() })?;
        let (names, expires) = told(own).ok_or_else(|| TlsError::NoCertificate { file: certificate.to_owned() })?;
        let private = PrivateKeyDer::from_pem_slice(&private).map_err(|_| TlsError::NoKey { file: key.to_owned() })?;
        let shown = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Strangers,
            other => TlsError::Unusable(other.to_string()),
        })?;
        Ok(Self { shown: Arc::new(shown), names, expires })
    }

    /// Days until the certificate ends, less than none when it has.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        (self.expires - i64::try_from(now).unwrap_or(i64::MAX)).div_euclid(86_400)
    }
}

/// Whom a certificate names, and when it ends.
fn told(certificate: &CertificateDer<'_>) -> Option<(Vec<String>, i64)> {
    use x509_parser::{extensions::GeneralName, prelude::FromDer};
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let named = certificate.subject_alternative_name().ok().flatten();
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress([a, b, c, d]) => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
        GeneralName::IPAddress(bytes) => {
            <[u8; 16]>::try_from(*bytes).ok().map(|ip| std::net::Ipv6Addr::from(ip).to_string())
        }
        _ => None,
    };
    let names = named.map(|names| names.value.general_names.iter().filter_map(name).collect()).unwrap_or_default();
    Some((names, certificate.validity().not_after.timestamp()))
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// Speaks TLS on a port, and follows its files.
pub struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    config: TlsConfig,
    metrics: Arc<Metrics>,
}

/// The certificate that new connections see.
#[derive(Debug)]
struct Current(RwLock<Identity>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().shown.clone())
    }
}

impl Tls {
    /// From the configuration; nothing where TLS is off.
    pub fn new(config: &TlsConfig, metrics: Arc<Metrics>) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(identity) = config.load()? else { return Ok(None) };
        metrics.certificate_expires.set(identity.expires);
        let current = Arc::new(Current(RwLock::new(identity)));
        let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
        let mut server = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        server.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
        // Whoever comes back need not be sent the certificate again, and nothing is kept here for that.
        server.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
        Ok(Some(Arc::new(Self { acceptor: Arc::new(server).into(), current, config: config.clone(), metrics })))
    }

    /// Who shakes hands.
    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Looks at the files now and then, and at once on SIGHUP; runs for as long as the server.
    pub(crate) async fn follow(self: Arc<Self>, mut hangup: Hangup) {
        let mut seen = self.stamp();
        let mut due = tokio::time::interval(Duration::from_millis(self.config.reload_ms));
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                _ = due.tick() => false,
                () = hangup.heard() => true,
            };
            let stamp = self.stamp();
            if told || stamp != seen {
                seen = stamp;
                self.reload();
            }
        }
    }

    /// Shows what the files hold now. What cannot be used leaves everything as it was: the two may be on their way, one
    /// after the other.
    fn reload(&self) {
        let identity = match self.config.load() {
            Ok(Some(identity)) => identity,
            // It was there at the start, and this is the same configuration.
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the new certificate cannot be used; the old one goes on");
                self.metrics.certificate_loads("refused");
                return;
            }
        };
        let days = identity.days_left(SystemTime::now());
        tracing::info!(names = ?identity.names, days, "new connections see the certificate as it is now");
        self.metrics.certificate_expires.set(identity.expires);
        self.metrics.certificate_loads("taken");
        *self.current.0.write() = identity;
    }

    /// What tells that a file was replaced, whether by a new one or through a link.
    fn stamp(&self) -> [Option<(u64, u64, Option<SystemTime>)>; 2] {
        [&self.config.certificate_file, &self.config.key_file].map(|file| {
            let known = fs::metadata(file.as_ref()?).ok()?;
            Some((known.ino(), known.len(), known.modified().ok()))
        })
    }
}

#[cfg(test)]
mod tests {
    use rallypoint_proof::certificate;

    use super::*;

    /// A folder with the files of two identities.
    struct Ground {
        folder: PathBuf,
    }

    impl Ground {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("rallypoint-tls-unit-{}", uuid::Uuid::new_v4()));
            for name in ["a", "b"] {
                let own = folder.join(name);
                fs::create_dir_all(&own).unwrap();
                certificate::Identity::new().unwrap().put(&own).unwrap();
            }
            fs::write(folder.join("words"), "no PEM at all").unwrap();
            Self { folder }
        }

        fn load(&self, certificate: Option<&str>, key: Option<&str>) -> Result<Option<Identity>, TlsError> {
            let file = |name: &str| self.folder.join(name);
            TlsConfig { certificate_file: certificate.map(file), key_file: key.map(file), ..TlsConfig::default() }
                .load()
        }
    }

    impl Drop for Ground {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn a_pair_is_read_and_told() {
        let ground = Ground::new();
        assert!(ground.load(None, None).unwrap().is_none());
        let identity = ground.load(Some("a/certificate.pem"), Some("a/key.pem")).unwrap().unwrap();
        assert_eq!(identity.names, ["localhost", "127.0.0.1"]);
        let at = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap());
        let days = [86_401, 86_400, 86_399, 0, -1].map(|left| identity.days_left(at(identity.expires - left)));
        assert_eq!(days, [1, 1, 0, 0, -1]);
    }

    #[test]
    fn what_is_of_no_use_is_told_and_no_key_with_it() {
        let ground = Ground::new();
        let table = [
            (Some("a/certificate.pem"), None, "`key_file` is missing"),
            (None, Some("a/key.pem"), "`certificate_file` is missing"),
            (Some("nowhere"), Some("a/key.pem"), "cannot read"),
            (Some("words"), Some("a/key.pem"), "no certificate in PEM"),
            (Some("a/key.pem"), Some("a/key.pem"), "no certificate in PEM"),
            (Some("a/certificate.pem"), Some("words"), "no private key in PEM"),
            (Some("a/certificate.pem"), Some("a/certificate.pem"), "no private key in PEM"),
            (Some("a/certificate.pem"), Some("b/key.pem"), "the key is not that of the certificate"),
        ];
        for (certificate, key, expected) in table {
            let error = ground.load(certificate, key).unwrap_err().to_string();
            assert!(error.contains(expected), "{certificate:?} {key:?}: {error}");
        }
        let shown = format!("{:?}", ground.load(Some("a/certificate.pem"), Some("a/key.pem")));
        assert!(!shown.contains("PRIVATE") && shown.contains("localhost"), "{shown}");
    }
}
