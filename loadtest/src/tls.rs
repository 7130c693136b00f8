//! TLS on a socket that never blocks, and what the user wants of it.
//!
//! [`Tls`] is made once from the options and shared by all connections; [`Secured`] is one connection's session
//! over its socket. Certificates are checked against the user's own authority file, or not at all where that was
//! asked for: there is no list of public authorities in here, since caches are not reached by public names.

mod words;

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::Error;

pub use words::in_words;

/// What the user wants of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The authorities that servers' certificates must come from.
    pub authority: Option<PathBuf>,
    /// The generator's own certificate and its key.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Take any certificate.
    pub insecure: bool,
    /// The name that the server's certificate must have and that is told to the server; else the target's.
    pub name: Option<String>,
}

/// How all connections of a run are secured.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads the files.
    pub fn new(wanted: &Wanted) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let wrong = |error: rustls::Error| Error::Usage(format!("TLS: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(wrong)?;
        let builder = match &wanted.authority {
            _ if wanted.insecure => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            }
            Some(path) => builder.with_root_certificates(authorities(path)?),
            None => {
                return Err(Error::Usage(
                    "TLS needs the authority of the server's certificate: give --cacert FILE, or --insecure to \
                     take any certificate"
                        .into(),
                ));
            }
        };
        let config = match &wanted.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key_bytes = PrivateKeyDer::from_pem_file(key).map_err(|error| in_file(key, &error))?;
                builder.with_client_auth_cert(chain, key_bytes).map_err(|error| in_file(key, &error))?
            }
        };
        let name = wanted.name.as_ref().map(|name| server_name(name)).transpose()?;
        Ok(Self { config: Arc::new(config), name })
    }

    /// A session with the server of this host name or address; nothing is sent yet.
    pub fn session(&self, host: &str) -> io::Result<ClientConnection> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(io::Error::other)?,
        };
        let mut session = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        // What is written is bounded by the pipeline, and a bound here would only cut requests.
        session.set_buffer_limit(None);
        Ok(session)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for Tls {}

fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(name.clone()).map_err(|_| Error::Usage(format!("TLS: '{name}' is no host name")))
}

fn in_file(path: &Path, error: &dyn fmt::Display) -> Error {
    Error::Usage(format!("{}: {error}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| in_file(path, &error))?.collect();
    let found = found.map_err(|error| in_file(path, &error))?;
    if found.is_empty() { Err(in_file(path, &"there is no certificate in it")) } else { Ok(found) }
}

fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| in_file(path, &error))?;
    }
    Ok(store)
}

/// Takes any certificate; signatures are still checked, so the session is private though nobody knows with whom.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A session over a socket that never blocks.
#[derive(Debug)]
pub struct Secured {
    /// The socket underneath.
    pub socket: TcpStream,
    session: ClientConnection,
}

impl Secured {
    /// A session that has not begun.
    pub fn new(socket: TcpStream, session: ClientConnection) -> Self {
        Self { socket, session }
    }

    /// True until both sides have agreed on keys.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// True while encrypted bytes wait for the socket.
    pub fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    /// Writes what is encrypted; `WouldBlock` when some is left.
    pub fn push(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

impl Write for Secured {
    /// Encrypts all of it, once the handshake is over, and writes what the socket takes; the rest is written by
    /// the next [`Secured::push`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push()?;
        if self.session.is_handshaking() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.session.writer().write(bytes)?;
        match self.push() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Secured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if self.session.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            let processed = self.session.process_new_packets();
            // An alert, or the end of a handshake, is written whatever became of the bytes read.
            let pushed = self.push();
            processed.map_err(|error| {
                io::Error::new(ErrorKind::InvalidData, format!("TLS: {}", in_words(&error)))
            })?;
            pushed
                .or_else(|error| if error.kind() == ErrorKind::WouldBlock { Ok(()) } else { Err(error) })?;
        }
    }
}
