//! The options that say how to get into a server: TLS, AUTH, the protocol and the database.

use clap::Args;

use super::tls::TlsArguments;
use crate::error::Error;
use crate::target::{Opening, Target};

/// How to get into a server.
#[derive(Clone, Debug, Args)]
pub(super) struct AccessArguments {
    #[command(flatten)]
    tls: TlsArguments,
    /// Speak RESP3.
    #[arg(short = '3', long)]
    resp3: bool,
    /// User name for AUTH [default: the server's default user]
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// Password for AUTH [default: no AUTH]
    #[arg(short = 'a', long, env = "SHOAL_LOADTEST_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Database for SELECT.
    #[arg(long, default_value_t = 0)]
    database: u32,
}

impl AccessArguments {
    /// Looks the servers up, to be reached in this way.
    pub(super) fn targets(&self, names: &[String]) -> Result<Vec<Target>, Error> {
        let tls = self.tls.read()?;
        let target = |name: &String| Ok(Target { tls: tls.clone(), ..Target::resolve(name)? });
        names.iter().map(target).collect()
    }

    /// Looks one server up.
    pub(super) fn target(&self, name: &str) -> Result<Target, Error> {
        Ok(Target { tls: self.tls.read()?, ..Target::resolve(name)? })
    }

    /// What connections say first.
    pub(super) fn opening(&self) -> Opening {
        Opening {
            resp3: self.resp3,
            user: self.user.clone(),
            password: self.password.clone(),
            database: self.database,
        }
    }
}
