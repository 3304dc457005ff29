//! From `--store` to a store.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use super::{FileStore, MemoryStore, OpenError, SharedStore};
use crate::quota::Wall;

/// Where the counters are kept: a value of `--store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// `memory:`, forgotten at exit.
    Memory,
    /// `file:DIR`, a directory on the local disk, for one process.
    File(PathBuf),
}

/// Why a text is not the address of a store: a sentence that says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// It begins like no store.
    #[error("{0:?} is not a store: it must be memory: or file:DIR")]
    Unknown(String),
    /// `memory:` with something behind it.
    #[error("memory: takes nothing behind the colon; for a directory write file:DIR")]
    MemoryWithPath,
    /// `file:` with nothing behind it.
    #[error("file: needs a directory, for example file:./quotagate-data")]
    FileWithoutPath,
    /// `etcd://`, which other builds have.
    #[error("this build has no etcd store yet: it must be memory: or file:DIR")]
    NoEtcd,
}

/// A store that was opened, and what it remembers of time.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The store.
    pub store: SharedStore,
    /// The last [`Txn::wall`](super::Txn::wall) it has kept from former
    /// lives: time must not be taken to be earlier.
    pub last_wall: Option<Wall>,
}

/// Opens the store at an address.
///
/// # Errors
/// [`OpenError`], a sentence that says what to do; `memory:` always opens.
pub fn open(address: &StoreAddress) -> Result<Opened, OpenError> {
    Ok(match address {
        StoreAddress::Memory => Opened { store: Arc::new(MemoryStore::new()), last_wall: None },
        StoreAddress::File(dir) => {
            let store = FileStore::open(dir)?;
            Opened { last_wall: store.last_wall(), store: Arc::new(store) }
        }
    })
}

impl FromStr for StoreAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("memory", _)) => Err(BadAddress::MemoryWithPath),
            Some(("file", "")) => Err(BadAddress::FileWithoutPath),
            Some(("file", dir)) => Ok(Self::File(dir.into())),
            Some(("etcd", _)) => Err(BadAddress::NoEtcd),
            _ => Err(BadAddress::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::File(dir) => write!(f, "file:{}", dir.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for (text, address) in [
            ("memory:", StoreAddress::Memory),
            ("file:./quotagate-data", StoreAddress::File("./quotagate-data".into())),
            ("file:/var/lib/quota gate", StoreAddress::File("/var/lib/quota gate".into())),
            ("file:a:b", StoreAddress::File("a:b".into())),
        ] {
            assert_eq!(text.parse(), Ok(address.clone()));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn a_wrong_address_says_what_would_be_right() {
        for (text, sentence) in [
            ("", r#""" is not a store: it must be memory: or file:DIR"#),
            ("memory", r#""memory" is not a store: it must be memory: or file:DIR"#),
            ("/var/lib", r#""/var/lib" is not a store: it must be memory: or file:DIR"#),
            ("redis://x", r#""redis://x" is not a store: it must be memory: or file:DIR"#),
            ("memory:x", "memory: takes nothing behind the colon; for a directory write file:DIR"),
            ("file:", "file: needs a directory, for example file:./quotagate-data"),
            ("etcd://h:1", "this build has no etcd store yet: it must be memory: or file:DIR"),
        ] {
            let error = text.parse::<StoreAddress>().unwrap_err();
            assert_eq!(error.to_string(), sentence, "{text:?}");
        }
    }
}
