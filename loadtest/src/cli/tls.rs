//! The options that say how connections are secured.

use std::path::PathBuf;

use clap::Args;

use crate::error::Error;
use crate::tls::{Tls, Wanted};

/// How connections are secured.
#[derive(Clone, Debug, Args)]
pub(super) struct TlsArguments {
    /// Connect with TLS.
    #[arg(long)]
    tls: bool,
    /// The authority that signed the server's certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls", conflicts_with = "insecure")]
    cacert: Option<PathBuf>,
    /// The certificate to show to the server, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of that certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls", requires = "cert")]
    key: Option<PathBuf>,
    /// Take any certificate of the server.
    #[arg(long, requires = "tls")]
    insecure: bool,
    /// The name told to the server and looked for in its certificate [default: the target's]
    #[arg(long, value_name = "NAME", requires = "tls")]
    sni: Option<String>,
}

impl TlsArguments {
    /// Reads the files; `None` without TLS.
    pub(super) fn read(&self) -> Result<Option<Tls>, Error> {
        if !self.tls {
            return Ok(None);
        }
        let own = self.cert.clone().zip(self.key.clone());
        let wanted =
            Wanted { authority: self.cacert.clone(), own, insecure: self.insecure, name: self.sni.clone() };
        Tls::new(&wanted).map(Some)
    }
}
