//! The directory of a file store: who holds it, what lies in it, and why it
//! cannot be used.
//!
//! ```text
//! DIR/LOCK              locked while a process has the store open; says which
//! DIR/quotagate.redb    the database; appears under this name when it is complete
//! ```

use std::{
    any::Any,
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process,
};

use redb::{Database, ReadableDatabase as _, TableDefinition};

use crate::quota::Wall;

/// The format that this build writes, and the only one that it reads.
const FORMAT: u64 = 1;

/// Every key, with create revision, mod revision and value.
pub(super) const DATA: TableDefinition<'_, &str, (u64, u64, &[u8])> = TableDefinition::new("data");

/// Numbers about the store itself. Whatever a later format changes, this table
/// and its [`FORMAT_KEY`] stay, so that every version can tell a newer store.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// In [`META`]: the store's format.
const FORMAT_KEY: &str = "format";

/// In [`META`]: the store's revision.
pub(super) const REVISION_KEY: &str = "revision";

/// In [`META`]: the wall clock of the last writer, in microseconds; absent
/// until one came.
pub(super) const LAST_WALL_KEY: &str = "last_wall_us";

/// Pages that redb keeps in memory, in bytes. Its own default is 1 GiB; the
/// records of ten thousand busy orgs take some 30 MiB.
const CACHE_BYTES: usize = 64 << 20;

const DATABASE: &str = "quotagate.redb";
const DATABASE_UNFINISHED: &str = "quotagate.redb.new";
const LOCK: &str = "LOCK";

/// Why a directory cannot be opened as a store: one sentence each, that ends
/// with what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error(
        "the store {} is in use by {holder}: stop that process, or name another directory",
        .dir.display()
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who.
        holder: Holder,
    },
    /// A later version wrote it.
    #[error(
        "the store {} has the format {found}, but this build knows only {FORMAT}: run the version \
         of quotagate that wrote it, or a later one",
        .dir.display()
    )]
    NewerFormat {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The database is not what was written.
    #[error(
        "the database {} is damaged ({reason}): put back a copy of its directory, or move the \
         directory away to start with an empty store, which knows of no call that was made before",
        .path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The path leads to something else.
    #[error("the store {} is not a directory: name a directory, or a path that is free", .dir.display())]
    NotADirectory {
        /// The path.
        dir: PathBuf,
    },
    /// The operating system does not let this process write there.
    #[error(
        "the store cannot write {} ({source}): give this process's user the right to write there, \
         or name another directory",
        .path.display()
    )]
    NotWritable {
        /// What could not be written.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The operating system failed otherwise.
    #[error("the store cannot use {} ({source}): see to the disk, then start again", .path.display())]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Who has a store open, as far as its lock says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// What it wrote into the lock, for example `process 4711 on db-1`; empty if
    /// it has not come to that.
    pub name: String,
    /// When it opened the store, for people; empty if unknown.
    pub since: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.name.is_empty() { "another process" } else { &self.name })?;
        if self.since.is_empty() { Ok(()) } else { write!(f, " since {}", self.since) }
    }
}

/// A directory that this process holds. Dropping it lets go.
#[derive(Debug)]
pub(super) struct Directory {
    dir: PathBuf,
    lock: File,
}

/// What the database says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// The store's revision.
    pub(super) revision: u64,
    /// The wall clock of the last writer.
    pub(super) last_wall: Option<Wall>,
}

impl Directory {
    /// Makes the directory if there is none, and takes its lock.
    pub(super) fn hold(dir: &Path) -> Result<Self, OpenError> {
        if !dir.is_dir() {
            make_directory(dir)?;
        }
        let path = dir.join(LOCK);
        let failed = |source| io_error(&path, source);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { dir: dir.into(), holder: read_holder(lock) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        write_holder(&mut lock).map_err(failed)?;
        Ok(Self { dir: dir.into(), lock })
    }

    /// Opens the database, and makes it first if there is none. Every page of
    /// an old one is checked.
    pub(super) fn open_database(&self) -> Result<(Database, Meta), OpenError> {
        let path = self.dir.join(DATABASE);
        // A lie about this, for want of rights, would end in an empty store.
        if !path.try_exists().map_err(|source| io_error(&path, source))? {
            self.make_database(&path)?;
        }
        // On some damage redb panics rather than failing, in debug builds above
        // all. Nothing that is touched inside is used after a panic.
        panic::catch_unwind(AssertUnwindSafe(|| {
            let database = builder().open(&path).map_err(|error| self.explain(&path, error))?;
            let meta = self.read_meta(&path, &database)?;
            Ok((database, meta))
        }))
        .unwrap_or_else(|panic| {
            Err(OpenError::Damaged { path: path.clone(), reason: panic_message(&*panic) })
        })
    }

    /// Makes an empty database beside its place and moves it there when it is
    /// on the disk, so that a crash meanwhile leaves nothing that looks damaged.
    fn make_database(&self, path: &Path) -> Result<(), OpenError> {
        let unfinished = self.dir.join(DATABASE_UNFINISHED);
        match fs::remove_file(&unfinished) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(&unfinished, source));
            }
            _ => {}
        }
        let database =
            builder().create(&unfinished).map_err(|error| self.explain(&unfinished, error))?;
        write_first_meta(&database).map_err(|error| self.explain(&unfinished, error))?;
        database.close().map_err(|error| self.explain(&unfinished, error))?;
        fs::rename(&unfinished, path).map_err(|source| io_error(path, source))?;
        sync_directory(&self.dir)
    }

    fn read_meta(&self, path: &Path, database: &Database) -> Result<Meta, OpenError> {
        let damaged =
            |reason: &str| OpenError::Damaged { path: path.into(), reason: reason.into() };
        let failed = |error: redb::Error| self.explain(path, error);
        let read = database.begin_read().map_err(|error| failed(error.into()))?;
        let meta = read.open_table(META).map_err(|error| failed(error.into()))?;
        let number = |key: &str| match meta.get(key) {
            Ok(number) => Ok(number.map(|number| number.value())),
            Err(error) => Err(failed(error.into())),
        };
        match number(FORMAT_KEY)? {
            Some(FORMAT) => {}
            Some(found) if found > FORMAT => {
                return Err(OpenError::NewerFormat { dir: self.dir.clone(), found });
            }
            _ => return Err(damaged("it does not say its format")),
        }
        read.open_table(DATA).map_err(|error| failed(error.into()))?;
        Ok(Meta {
            revision: number(REVISION_KEY)?
                .ok_or_else(|| damaged("it does not say its revision"))?,
            last_wall: number(LAST_WALL_KEY)?.map(Wall),
        })
    }

    /// The sentence for what redb says about a file.
    fn explain(&self, path: &Path, error: impl Into<redb::Error>) -> OpenError {
        match error.into() {
            // The disk ends before the database does.
            redb::Error::Io(source) if is_damage(&source) => {
                OpenError::Damaged { path: path.into(), reason: source.to_string() }
            }
            redb::Error::Io(source) => io_error(path, source),
            redb::Error::DatabaseAlreadyOpen => {
                OpenError::Locked { dir: self.dir.clone(), holder: Holder::default() }
            }
            other => OpenError::Damaged { path: path.into(), reason: other.to_string() },
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // For people who look into the directory; the lock itself ends with the
        // file, and the next holder writes its own name anyway.
        let _ = self.lock.set_len(0);
    }
}

/// What a panic said.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no reason given".into())
}

fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_check_integrity_on_open(true);
    builder
}

/// Makes an empty database of this format out of a new one.
pub(super) fn write_first_meta(database: &Database) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_two_phase_commit(true);
    {
        let mut meta = write.open_table(META)?;
        meta.insert(FORMAT_KEY, FORMAT)?;
        meta.insert(REVISION_KEY, 0)?;
        write.open_table(DATA)?;
    }
    write.commit()?;
    Ok(())
}

fn make_directory(dir: &Path) -> Result<(), OpenError> {
    fs::create_dir_all(dir).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            OpenError::NotADirectory { dir: dir.into() }
        }
        _ => io_error(dir, source),
    })?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// Makes the names in a directory outlast a power failure.
fn sync_directory(dir: &Path) -> Result<(), OpenError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io_error(dir, source))
}

fn read_holder(mut lock: File) -> Holder {
    let mut name = String::new();
    // Best effort: that the lock is held is known already.
    let _ = (&mut lock).take(1024).read_to_string(&mut name);
    let since = lock
        .metadata()
        .and_then(|metadata| metadata.modified())
        .map(|time| {
            let mut since = prost_types::Timestamp::from(time);
            since.nanos = 0;
            since.to_string()
        })
        .unwrap_or_default();
    Holder { name: name.trim().to_owned(), since }
}

/// Writes who holds the lock. The time is the file's own: it is set by this.
fn write_holder(lock: &mut File) -> io::Result<()> {
    let mut name = format!("process {}", process::id());
    // The directory may lie on a disk that several machines, or containers with
    // process numbers of their own, have mounted.
    if let Ok(host) = fs::read_to_string("/proc/sys/kernel/hostname") {
        name = format!("{name} on {}", host.trim());
    }
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(name.as_bytes())
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::NotWritable { path: path.into(), source }
        }
        _ => OpenError::Io { path: path.into(), source },
    }
}

fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_told_from_what_fails() {
        for (errno, not_writable) in [
            (rustix::io::Errno::ACCESS, true),
            (rustix::io::Errno::PERM, true),
            (rustix::io::Errno::ROFS, true),
            (rustix::io::Errno::NOSPC, false),
            (rustix::io::Errno::IO, false),
        ] {
            let error = io_error(Path::new("DIR"), errno.into());
            assert_eq!(matches!(error, OpenError::NotWritable { .. }), not_writable, "{error}");
        }
    }

    #[test]
    fn a_holder_is_named_as_far_as_it_is_known() {
        for (name, since, text) in [
            (
                "process 7 on db-1",
                "2026-01-01T00:00:00Z",
                "process 7 on db-1 since 2026-01-01T00:00:00Z",
            ),
            ("process 7", "", "process 7"),
            ("", "", "another process"),
        ] {
            let holder = Holder { name: name.into(), since: since.into() };
            assert_eq!(holder.to_string(), text);
        }
    }
}
