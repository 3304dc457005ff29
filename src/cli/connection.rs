//! Which servers the commands ask, and how they connect to them.

use std::path::PathBuf;

use clap::Args;

use super::exit::Fault;
use crate::client::{Client, DEFAULT_SERVER, TlsFiles};

/// Which server, how to trust it, and how to show who asks.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The server's gRPC address; of several, separated by commas, those that are healthy are asked
    ///
    /// HOST:PORT, or https://HOST:PORT for TLS, which the options of TLS mean, too.
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// The certificates of the authorities that the server's is checked with (PEM); without, the
    /// system's
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// The certificate to show to the server (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The name that must stand in the server's certificate, where that is not the host
    #[arg(long, value_name = "NAME")]
    pub tls_name: Option<String>,
    /// A file with the token that says who asks
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Send the token also where others can read it: without TLS, to another machine
    #[arg(long)]
    pub token_in_the_clear: bool,
}

impl Connection {
    /// Connects.
    pub async fn connect(&self) -> Result<Client, Fault> {
        let mut builder = Client::builder(&self.server);
        let files = TlsFiles {
            ca: self.tls_ca.clone(),
            identity: self.tls_cert.clone().zip(self.tls_key.clone()),
            name: self.tls_name.clone(),
        };
        if files != TlsFiles::default() {
            builder = builder.tls(files);
        }
        if let Some(file) = &self.token_file {
            builder = builder.token_file(file);
        }
        if self.token_in_the_clear {
            builder = builder.token_in_the_clear();
        }
        Ok(builder.connect().await?)
    }

    /// The variables with which a command that is run connects in the same way.
    pub fn variables(&self) -> Vec<(&'static str, std::ffi::OsString)> {
        let files = [
            ("QUOTAGATE_TLS_CA", &self.tls_ca),
            ("QUOTAGATE_TLS_CERT", &self.tls_cert),
            ("QUOTAGATE_TLS_KEY", &self.tls_key),
            ("QUOTAGATE_TOKEN_FILE", &self.token_file),
        ];
        let files = files.into_iter().filter_map(|(name, file)| Some((name, file.clone()?.into())));
        let mut variables: Vec<_> = files.collect();
        variables.push(("QUOTAGATE_SERVER", self.server.clone().into()));
        if let Some(name) = &self.tls_name {
            variables.push(("QUOTAGATE_TLS_NAME", name.into()));
        }
        if self.token_in_the_clear {
            variables.push(("QUOTAGATE_TOKEN_IN_THE_CLEAR", "true".into()));
        }
        variables
    }
}
