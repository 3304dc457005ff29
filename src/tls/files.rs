//! What files say, followed as it changes.

use std::{
    fmt, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use tokio::{runtime::Handle, time::sleep};
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// How often the files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// No certificate, key or token is longer, in bytes.
const MOST_BYTES: u64 = 4 << 20;

/// What is wrong with a file. It shows nothing of what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// What became of files that have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// What they say is in force.
    Applied,
    /// They have a fault, and the last good ones stay in force.
    Rejected,
}

/// What files say, as of now.
pub struct Followed<T> {
    paths: Vec<PathBuf>,
    make: Make<T>,
    now: RwLock<Arc<T>>,
    seen: Mutex<Seen>,
    listener: OnceLock<Listener>,
}

type Make<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, Fault> + Send + Sync>;
type Listener = Box<dyn Fn(Reload) + Send + Sync>;

/// Contents, by their hashes: what is followed may be secret.
#[derive(Debug, Default)]
struct Seen {
    /// At the last look.
    last: u64,
    /// When a value was last made of them, good or not.
    tried: u64,
}

impl<T: Send + Sync + 'static> Followed<T> {
    /// Reads the files, and makes of their contents (in the order of the paths)
    /// what they mean. Within a tokio runtime they are followed from then on, until
    /// the value is dropped.
    ///
    /// # Errors
    /// A file cannot be read, or `make` has found a fault.
    pub fn open(
        paths: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, Fault> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Fault> {
        let found = read(&paths);
        let hash = hash(&found);
        let now = RwLock::new(Arc::new(make(&found?)?));
        let seen = Mutex::new(Seen { last: hash, tried: hash });
        let make = Box::new(make);
        let followed = Arc::new(Self { paths, make, now, seen, listener: OnceLock::new() });
        if !followed.paths.is_empty()
            && let Ok(runtime) = Handle::try_current()
        {
            let weak = Arc::downgrade(&followed);
            runtime.spawn(async move {
                loop {
                    sleep(LOOK_EVERY).await;
                    let Some(followed) = weak.upgrade() else { return };
                    // The files may lie on a slow disk: never on a thread that serves.
                    let looked = tokio::task::spawn_blocking(move || followed.look());
                    if looked.await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(followed)
    }

    /// What is in force now.
    #[must_use]
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has each change told to `listener`; only the first one listens.
    pub fn on_reload(&self, listener: impl Fn(Reload) + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    /// Looks once. What has changed is used when it was the same at two looks, so
    /// that files which are being written are left alone until they are whole.
    fn look(&self) {
        let found = read(&self.paths);
        let hash = hash(&found);
        {
            let mut seen = self.seen();
            let rests = seen.last == hash;
            seen.last = hash;
            if !rests || seen.tried == hash {
                return;
            }
            seen.tried = hash;
        }
        let reload = match found.and_then(|contents| (self.make)(&contents)) {
            Ok(value) => {
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                tracing::info!(files = %self.names(), "read again, and in force");
                Reload::Applied
            }
            Err(fault) => {
                tracing::error!(%fault, files = %self.names(), "refused: the last good files stay in force");
                Reload::Rejected
            }
        };
        if let Some(listener) = self.listener.get() {
            listener(reload);
        }
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
        names.join(", ")
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    /// A fault of a file.
    pub fn new(path: &Path, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), why: why.into() }
    }
}

/// The certificates in a PEM file, in their order.
///
/// # Errors
/// It has none, or something that is no PEM.
pub fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(Fault::new(path, "there is no certificate in it (PEM)"))
        }
        Ok(certificates) => Ok(certificates),
        // The error itself may show a line of the file.
        Err(_) => Err(Fault::new(path, "it is no PEM, or ends in the middle")),
    }
}

/// The private key in a PEM file.
///
/// # Errors
/// There is none.
pub fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| Fault::new(path, "there is no private key in it (PEM)"))
}

/// The authorities whose certificates stand in a PEM file.
///
/// # Errors
/// It has none, or one that is none.
pub fn authorities(path: &Path, pem: &[u8]) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots.add(certificate).map_err(|error| Fault::new(path, error.to_string()))?;
    }
    Ok(roots)
}

fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Fault> {
    let one = |path: &PathBuf| {
        let bad = |error: io::Error| Fault::new(path, error.to_string());
        let file = fs::File::open(path).map_err(bad)?;
        let mut content = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, MOST_BYTES), &mut content).map_err(bad)?;
        Ok(content)
    };
    paths.iter().map(one).collect()
}

fn hash(found: &Result<Vec<Vec<u8>>, Fault>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match found {
        Ok(contents) => contents.hash(&mut hasher),
        Err(fault) => (&fault.path, &fault.why).hash(&mut hasher),
    }
    hasher.finish()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for Fault {}

impl<T> fmt::Debug for Followed<T> {
    /// Without what they say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("paths", &self.paths).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::symlink,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn changed_files_are_used_once_they_rest_and_bad_ones_are_told_once() {
        let home = tempfile::tempdir().expect("a place for temporary files");
        let (a, b) = (home.path().join("a"), home.path().join("b"));
        let write = |path: &Path, text: &str| fs::write(path, text).expect("it is writable");
        write(&a, "1");
        write(&b, "1");
        let pair = vec![a.clone(), b.clone()];
        let path = a.clone();
        let followed = Followed::open(pair, move |contents| match contents {
            [a, b] if a == b => Ok(String::from_utf8_lossy(a).into_owned()),
            _ => Err(Fault::new(&path, "they do not fit")),
        })
        .expect("they fit");
        let told = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let counts = Arc::clone(&told);
        followed.on_reload(move |reload| {
            counts[usize::from(reload == Reload::Rejected)].fetch_add(1, Ordering::Relaxed);
        });
        let check = |now: &str, applied: usize, rejected: usize, what: &str| {
            followed.look();
            let counts = told.each_ref().map(|count| count.load(Ordering::Relaxed));
            assert_eq!((&**followed.now(), counts), (now, [applied, rejected]), "{what}");
        };
        check("1", 0, 0, "nothing new");
        write(&a, "2");
        check("1", 0, 0, "it may be being written");
        write(&b, "2");
        check("1", 0, 0, "so may this");
        check("2", 1, 0, "they rest");
        check("2", 1, 0, "nothing new");
        write(&a, "3");
        check("2", 1, 0, "it may be being written");
        check("2", 1, 1, "they do not fit");
        check("2", 1, 1, "that was told");
        fs::remove_file(&b).expect("it is there");
        check("2", 1, 1, "it may be being replaced");
        check("2", 1, 2, "it is gone");
        write(&home.path().join("c"), "3");
        symlink("c", &b).expect("it is free");
        check("2", 1, 2, "it is there again");
        check("3", 2, 2, "they fit");
    }

    #[test]
    fn faults_show_nothing_of_a_file() {
        let path = Path::new("x.pem");
        for text in ["", "secret", "-----BEGIN secret\n", "-----BEGIN CERTIFICATE-----\nsecret"] {
            let faults = [
                certificates(path, text.as_bytes()).expect_err("it has none"),
                private_key(path, text.as_bytes()).expect_err("it has none"),
                authorities(path, text.as_bytes()).expect_err("it has none"),
            ];
            for fault in faults {
                assert!(fault.to_string().starts_with("x.pem: "), "{fault}");
                assert!(!format!("{fault} {fault:?}").contains("secret"), "{fault}");
            }
        }
    }
}
