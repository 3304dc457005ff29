//! From `--store` to a store.

use std::{ffi::OsStr, fmt, fs, io, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use clap::{
    builder::{TypedValueParser, ValueParserFactory},
    error::ErrorKind,
};
use tokio::time::{Instant, sleep};

use super::{
    EtcdOptions, EtcdStore, FileStore, MemoryStore, OpenError, SharedStore, Store, StoreError,
    etcd::{
        BadMember,
        examine::{self, Examined},
    },
};
use crate::{
    quota::Wall,
    tls::{ClientFiles, Connector, Fault},
};

/// Where the counters are kept: a value of `--store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// `memory:`, forgotten at exit.
    Memory,
    /// `file:DIR`, a directory on the local disk, for one process.
    File(PathBuf),
    /// `etcd://` or `etcds://`, shared by all nodes of a cluster.
    Etcd(EtcdAddress),
}

/// `etcd://HOST:PORT,HOST:PORT/PREFIX`, or `etcds://` for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdAddress {
    /// Is TLS spoken?
    pub tls: bool,
    /// `HOST:PORT` of each member, at least one.
    pub members: Vec<String>,
    /// Begins every key, with a slash at both ends.
    pub prefix: String,
}

/// How to speak to a store that is a service of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Options of an etcd store")]
pub struct StoreOptions {
    /// The certificates of the authorities that etcd's is checked with (PEM);
    /// without, the system's
    #[arg(id = "store-ca", long = "store-ca", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The certificate that this process shows to etcd (PEM)
    #[arg(id = "store-cert", long = "store-cert", value_name = "FILE", requires = "store-key")]
    pub cert: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(id = "store-key", long = "store-key", value_name = "FILE", requires = "store-cert")]
    pub key: Option<PathBuf>,
    /// The name that this process has at etcd
    #[arg(
        id = "store-user",
        long = "store-user",
        value_name = "NAME",
        requires = "store-password-file"
    )]
    pub user: Option<String>,
    /// A file with the password of that user; a line break at its end does not count
    #[arg(
        id = "store-password-file",
        long = "store-password-file",
        value_name = "FILE",
        requires = "store-user"
    )]
    pub password_file: Option<PathBuf>,
}

/// Why a text is not the address of a store: a sentence that says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// It begins like no store.
    #[error("{0:?} is not a store: it must be memory:, file:DIR or etcd://HOST:PORT")]
    Unknown(String),
    /// `memory:` with something behind it.
    #[error("memory: takes nothing behind the colon; for a directory write file:DIR")]
    MemoryWithPath,
    /// `file:` with nothing behind it.
    #[error("file: needs a directory, for example file:./quotagate-data")]
    FileWithoutPath,
    /// `etcd://` with something that is no list of members.
    #[error("{member:?} is not a member of an etcd: {reason}; write etcd://HOST:PORT,HOST:PORT")]
    BadMember {
        /// What stands where a member should.
        member: String,
        /// Why it is none.
        reason: &'static str,
    },
}

/// Why a store does not open: a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CannotOpen {
    /// A directory.
    #[error(transparent)]
    File(#[from] OpenError),
    /// The address of an etcd.
    #[error(transparent)]
    Member(#[from] BadMember),
    /// A file of the options.
    #[error("cannot read {} ({option}): {error}", path.display())]
    Unreadable {
        /// Which option names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Options that the store has no use for.
    #[error("{option} is for {what} only, and the store is {store}")]
    Useless {
        /// Which option.
        option: &'static str,
        /// What it is for.
        what: &'static str,
        /// The address.
        store: StoreAddress,
    },
}

/// A store that was opened, and what it remembers of time.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The store.
    pub store: SharedStore,
    /// The last [`Txn::wall`](super::Txn::wall) it has kept from former
    /// lives: time must not be taken to be earlier.
    pub last_wall: Option<Wall>,
    /// The connector, where TLS is spoken to it.
    pub tls: Option<Connector>,
}

/// The prefix of all keys in an etcd, where the address names none.
const PREFIX: &str = "/quotagate/";

/// How often a store that does not answer is asked again.
const ASK: Duration = Duration::from_millis(500);

/// How often is told that a store does not answer.
const TELL: Duration = Duration::from_secs(5);

/// Opens the store at an address. An etcd is not asked anything yet:
/// [`wait_until_it_answers`] does.
///
/// # Errors
/// [`CannotOpen`]; `memory:` without options always opens.
pub fn open(address: &StoreAddress, options: &StoreOptions) -> Result<Opened, CannotOpen> {
    options.suit(address)?;
    Ok(match address {
        StoreAddress::Memory => {
            Opened { store: Arc::new(MemoryStore::new()), last_wall: None, tls: None }
        }
        StoreAddress::File(dir) => {
            let store = FileStore::open(dir)?;
            Opened { last_wall: store.last_wall(), store: Arc::new(store), tls: None }
        }
        StoreAddress::Etcd(address) => {
            let etcd = options.etcd(address)?;
            let tls = etcd.tls.clone();
            let store = EtcdStore::new(etcd)?;
            Opened { store: Arc::new(store), last_wall: None, tls }
        }
    })
}

/// Asks each member of an etcd how it is.
///
/// # Errors
/// [`CannotOpen`]: the options are of no use.
pub async fn examine(
    address: &EtcdAddress,
    options: &StoreOptions,
) -> Result<Vec<Examined>, CannotOpen> {
    Ok(examine::examine(options.etcd(address)?).await?)
}

/// Returns when a store that is shared answers; says every few seconds why it
/// does not. A service that starts before its store, or while that has no
/// quorum, is to wait where everybody can see it, and not to end again and again.
pub async fn wait_until_it_answers(store: &dyn Store, prefix: &str) {
    if store.sessions().is_none() {
        return;
    }
    let start = Instant::now();
    let mut told: Option<Instant> = None;
    // That it went back is an answer, too.
    while let Err(error @ (StoreError::NotExecuted(_) | StoreError::Unknown(_))) =
        store.list(prefix).await
    {
        if told.is_none_or(|told| told.elapsed() >= TELL) {
            let waited = start.elapsed().as_secs();
            tracing::warn!(%error, waited, "waiting for the store: nothing is decided before");
            told = Some(Instant::now());
        }
        sleep(ASK).await;
    }
    if told.is_some() {
        tracing::info!(waited = start.elapsed().as_secs(), "the store answers");
    }
}

impl StoreOptions {
    fn etcd(&self, address: &EtcdAddress) -> Result<EtcdOptions, CannotOpen> {
        Ok(EtcdOptions {
            members: address.members.clone(),
            prefix: address.prefix.clone(),
            tls: if address.tls { Some(self.tls()?) } else { None },
            user: self.credentials()?,
            dial: None,
        })
    }

    /// Options without effect are a misunderstanding, which may be dangerous.
    fn suit(&self, address: &StoreAddress) -> Result<(), CannotOpen> {
        let given = [
            ("--store-ca", "etcds://", self.ca.is_some()),
            ("--store-cert", "etcds://", self.cert.is_some()),
            ("--store-key", "etcds://", self.key.is_some()),
            ("--store-user", "etcd:// and etcds://", self.user.is_some()),
            ("--store-password-file", "etcd:// and etcds://", self.password_file.is_some()),
        ];
        let (is_etcd, is_tls) = match address {
            StoreAddress::Etcd(address) => (true, address.tls),
            StoreAddress::Memory | StoreAddress::File(_) => (false, false),
        };
        let useless = |(_, what, given): &&(_, &str, bool)| {
            *given && !(is_tls || is_etcd && *what != "etcds://")
        };
        match given.iter().find(useless) {
            Some((option, what, _)) => {
                Err(CannotOpen::Useless { option, what, store: address.clone() })
            }
            None => Ok(()),
        }
    }

    fn tls(&self) -> Result<Connector, CannotOpen> {
        let identity = self.cert.clone().zip(self.key.clone());
        let files = ClientFiles { ca: self.ca.clone(), identity, name: None };
        Connector::open(files).map_err(|Fault { path, why }| {
            let is = |file: &Option<PathBuf>| file.as_ref() == Some(&path);
            let option = match () {
                () if is(&self.cert) => "--store-cert",
                () if is(&self.key) => "--store-key",
                () => "--store-ca",
            };
            CannotOpen::Unreadable { option, path, error: io::Error::other(why) }
        })
    }

    fn credentials(&self) -> Result<Option<(String, String)>, CannotOpen> {
        let (Some(user), Some(path)) = (&self.user, &self.password_file) else { return Ok(None) };
        let password = read("--store-password-file", path)?;
        let password = String::from_utf8(password).map_err(|_| CannotOpen::Unreadable {
            option: "--store-password-file",
            path: path.clone(),
            error: io::Error::new(io::ErrorKind::InvalidData, "it is not text"),
        })?;
        Ok(Some((user.clone(), password.trim_end_matches(['\r', '\n']).to_owned())))
    }
}

fn read(option: &'static str, path: &PathBuf) -> Result<Vec<u8>, CannotOpen> {
    fs::read(path).map_err(|error| CannotOpen::Unreadable { option, path: path.clone(), error })
}

impl FromStr for StoreAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("memory", _)) => Err(BadAddress::MemoryWithPath),
            Some(("file", "")) => Err(BadAddress::FileWithoutPath),
            Some(("file", dir)) => Ok(Self::File(dir.into())),
            Some((scheme @ ("etcd" | "etcds"), rest)) => {
                let rest = rest.strip_prefix("//").unwrap_or(rest);
                EtcdAddress::read(scheme == "etcds", rest).map(Self::Etcd)
            }
            _ => Err(BadAddress::Unknown(text.to_owned())),
        }
    }
}

impl ValueParserFactory for StoreAddress {
    type Parser = StoreAddressParser;

    fn value_parser() -> StoreAddressParser {
        StoreAddressParser
    }
}

/// Reads the value of `--store`. Of one that is refused nothing is shown where
/// somebody may have put a password, as clap would by itself.
#[derive(Clone, Copy, Debug)]
pub struct StoreAddressParser;

impl TypedValueParser for StoreAddressParser {
    type Value = StoreAddress;

    fn parse_ref(
        &self,
        command: &clap::Command,
        option: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<StoreAddress, clap::Error> {
        match value.to_str().map(StoreAddress::from_str) {
            Some(Err(fault)) if value.to_string_lossy().contains('@') => {
                let fault = format!("invalid value for '--store <STORE>': {fault}\n");
                Err(clap::Error::raw(ErrorKind::ValueValidation, fault).with_cmd(command))
            }
            _ => StoreAddress::from_str.parse_ref(command, option, value),
        }
    }
}

impl EtcdAddress {
    /// From what stands behind `etcd://`.
    fn read(tls: bool, text: &str) -> Result<Self, BadAddress> {
        let (members, prefix) = text.split_once('/').unwrap_or((text, ""));
        let members = members
            .split(',')
            .map(|member| match why_no_member(member) {
                Some(reason) => {
                    // What stands before it may be a password.
                    let shown = member.rsplit_once('@').map_or(member, |(_, shown)| shown);
                    Err(BadAddress::BadMember { member: shown.to_owned(), reason })
                }
                None => Ok(member.to_owned()),
            })
            .collect::<Result<_, _>>()?;
        let prefix = match prefix.trim_matches('/') {
            "" => PREFIX.to_owned(),
            prefix => format!("/{prefix}/"),
        };
        Ok(Self { tls, members, prefix })
    }
}

fn why_no_member(member: &str) -> Option<&'static str> {
    if member.contains('@') {
        return Some("a user is named by --store-user, with --store-password-file");
    }
    match member.rsplit_once(':') {
        None => Some("it needs a port, which is mostly 2379"),
        Some(("", _)) => Some("it needs a host"),
        Some((host, _))
            if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) =>
        {
            Some("an IPv6 address stands in brackets")
        }
        Some((_, port)) if port.parse::<u16>().is_err() => Some("its port is no number"),
        Some(_) => None,
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::File(dir) => write!(f, "file:{}", dir.display()),
            Self::Etcd(EtcdAddress { tls, members, prefix }) => {
                let scheme = if *tls { "etcds" } else { "etcd" };
                write!(f, "{scheme}://{}", members.join(","))?;
                match prefix.as_str() {
                    PREFIX => Ok(()),
                    prefix => f.write_str(prefix.trim_end_matches('/')),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etcd(tls: bool, members: &[&str], prefix: &str) -> StoreAddress {
        let members = members.iter().map(|&member| member.to_owned()).collect();
        StoreAddress::Etcd(EtcdAddress { tls, members, prefix: prefix.to_owned() })
    }

    #[test]
    fn addresses_are_read_and_written_alike() {
        for (text, address) in [
            ("memory:", StoreAddress::Memory),
            ("file:./quotagate-data", StoreAddress::File("./quotagate-data".into())),
            ("file:/var/lib/quota gate", StoreAddress::File("/var/lib/quota gate".into())),
            ("file:a:b", StoreAddress::File("a:b".into())),
            ("etcd://h:1", etcd(false, &["h:1"], "/quotagate/")),
            ("etcds://a.b:2379,[::1]:2", etcd(true, &["a.b:2379", "[::1]:2"], "/quotagate/")),
            ("etcd://h:1/team/a", etcd(false, &["h:1"], "/team/a/")),
        ] {
            assert_eq!(text.parse(), Ok(address.clone()));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn slashes_around_a_prefix_mean_nothing() {
        for text in ["etcd://h:1/", "etcd://h:1//", "etcd:h:1", "etcd://h:1/quotagate/"] {
            assert_eq!(text.parse(), Ok(etcd(false, &["h:1"], "/quotagate/")), "{text}");
        }
    }

    #[test]
    fn a_wrong_address_says_what_would_be_right() {
        let no_store = "is not a store: it must be memory:, file:DIR or etcd://HOST:PORT";
        let no_member = "is not a member of an etcd:";
        for (text, sentence) in [
            ("", format!(r#""" {no_store}"#)),
            ("memory", format!(r#""memory" {no_store}"#)),
            ("/var/lib", format!(r#""/var/lib" {no_store}"#)),
            ("redis://x", format!(r#""redis://x" {no_store}"#)),
            (
                "memory:x",
                "memory: takes nothing behind the colon; for a directory write file:DIR".into(),
            ),
            ("file:", "file: needs a directory, for example file:./quotagate-data".into()),
            ("etcd://", format!(r#""" {no_member} it needs a port, which is mostly 2379"#)),
            ("etcd://h", format!(r#""h" {no_member} it needs a port, which is mostly 2379"#)),
            ("etcd://h:1,,i:1", format!(r#""" {no_member} it needs a port"#)),
            ("etcd://:1", format!(r#"":1" {no_member} it needs a host"#)),
            ("etcd://h:x", format!(r#""h:x" {no_member} its port is no number"#)),
            ("etcd://::1:1", format!(r#""::1:1" {no_member} an IPv6 address stands in brackets"#)),
            ("etcd://me:secret@h:1", format!(r#""h:1" {no_member} a user is named by"#)),
        ] {
            let error = text.parse::<StoreAddress>().unwrap_err();
            assert!(error.to_string().starts_with(&sentence), "{text:?}: {error}");
        }
    }

    #[test]
    fn options_that_have_no_effect_are_refused() {
        let ca = StoreOptions { ca: Some("ca.pem".into()), ..StoreOptions::default() };
        let user = StoreOptions {
            user: Some("me".into()),
            password_file: Some("password".into()),
            ..StoreOptions::default()
        };
        for (store, options, refused) in [
            ("memory:", &ca, true),
            ("etcd://h:1", &ca, true),
            ("etcds://h:1", &ca, false),
            ("file:x", &user, true),
            ("etcd://h:1", &user, false),
            ("etcds://h:1", &user, false),
        ] {
            let useless = options.suit(&store.parse().unwrap());
            assert_eq!(useless.is_err(), refused, "{store} {options:?}");
        }
    }
}
