//! Hot reload: the file is read again when it has changed, and a bad one
//! changes nothing.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{Config, Fault, check::read_file};

/// How often the file is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What came of a changed file.
#[derive(Clone, Debug, PartialEq)]
pub enum Reload {
    /// It is good: this is to be in force.
    Accepted(Box<Config>),
    /// It is bad, for all of these reasons; what was in force stays so.
    Refused(Vec<Fault>),
}

impl Reload {
    /// The outcome in a metric's label.
    #[must_use]
    pub const fn outcome(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Refused(_) => "refused",
        }
    }
}

/// Looks at a file and tells when what it says has changed.
#[derive(Debug)]
pub struct Watcher {
    path: PathBuf,
    /// What was there at the last look.
    seen: Option<Fingerprint>,
    /// What was there when the file was last read.
    read: Option<Fingerprint>,
    /// The hash of what was last read: a file that is only touched is no change.
    text_hash: Option<u64>,
}

/// Changes whenever another content can be behind the path. The path is
/// followed through links, so that the swap of a directory behind it (as a
/// Kubernetes ConfigMap does it) is another inode here. `ctime` is in it because
/// a copy can bring an old `mtime` along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watcher {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn open(path: &Path) -> Result<(Config, Self), Vec<Fault>> {
        // Before the content: a change in between is then found by the next look.
        let seen = Fingerprint::of(path).ok();
        let mut watcher = Self { path: path.to_owned(), seen, read: seen, text_hash: None };
        let config = watcher.read()?;
        Ok((config, watcher))
    }

    /// Looks once; `None` if there is nothing new. A changed file is read when
    /// it was the same at two looks, so that one that is being written is left
    /// alone until it is whole.
    pub fn look(&mut self) -> Option<Result<Config, Vec<Fault>>> {
        let present = Fingerprint::of(&self.path).ok();
        let settled = present == self.seen;
        self.seen = present;
        if !settled || present == self.read {
            return None;
        }
        self.read = present;
        let hash_before = self.text_hash;
        let result = self.read();
        (self.text_hash.is_none() || self.text_hash != hash_before).then_some(result)
    }

    /// Reads the file now, changed or not: an operator asked for it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(&mut self) -> Result<Config, Vec<Fault>> {
        self.text_hash = None;
        let text = read_file(&self.path)?;
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        self.text_hash = Some(hasher.finish());
        Config::parse(&text)
    }
}

/// Watches until the receiver goes: every [`LOOK_EVERY`], and at SIGHUP.
///
/// # Errors
/// If SIGHUP cannot be listened to.
pub async fn watch(mut watcher: Watcher, reloads: mpsc::Sender<Reload>) -> io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = ticks.tick() => false,
            _ = hangups.recv() => true,
            () = reloads.closed() => return Ok(()),
        };
        // The file may lie on a slow disk: never on a thread that serves.
        let looked = spawn_blocking(move || {
            let result = if asked { Some(watcher.read()) } else { watcher.look() };
            (watcher, result)
        });
        let result;
        (watcher, result) = looked.await.map_err(io::Error::other)?;
        let reload = match result {
            None => continue,
            Some(Ok(config)) => Reload::Accepted(Box::new(config)),
            Some(Err(faults)) => Reload::Refused(faults),
        };
        if reloads.send(reload).await.is_err() {
            return Ok(());
        }
    }
}

impl Fingerprint {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What a look found: nothing, the outage share of a good file, or a bad one.
    #[derive(Debug, PartialEq)]
    enum Found {
        Nothing,
        Good(u32),
        Bad,
    }
    use Found::{Bad, Good, Nothing};

    #[test]
    fn a_changed_file_is_read_once_it_rests_and_a_bad_one_is_told_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("q.yaml");
        write(&path, "outage_share: 1");
        let (config, mut watcher) = Watcher::open(&path).expect("a good file");
        assert_eq!(config.outage_share, 1);
        let rows: [(Option<&str>, [Found; 4]); 8] = [
            (None, [Nothing, Nothing, Nothing, Nothing]),
            (Some("outage_share: 22"), [Nothing, Good(22), Nothing, Nothing]),
            // Of the same length.
            (Some("outage_share: 33"), [Nothing, Good(33), Nothing, Nothing]),
            (Some("outage_share: many"), [Nothing, Bad, Nothing, Nothing]),
            // Back to what it was.
            (Some("outage_share: 33"), [Nothing, Good(33), Nothing, Nothing]),
            // Written again, the same.
            (Some("outage_share: 33"), [Nothing, Nothing, Nothing, Nothing]),
            (Some("["), [Nothing, Bad, Nothing, Nothing]),
            (Some("outage_share: 4"), [Nothing, Good(4), Nothing, Nothing]),
        ];
        for (text, expected) in rows {
            if let Some(text) = text {
                write(&path, text);
            }
            let found = [(); 4].map(|()| look(&mut watcher));
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_is_being_written_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("q.yaml");
        write(&path, "outage_share: 1");
        let (_, mut watcher) = Watcher::open(&path).expect("a good file");
        for text in ["outage", "outage_share:", "outage_share: 5"] {
            write(&path, text);
            assert_eq!(look(&mut watcher), Nothing, "{text:?}");
        }
        assert_eq!(look(&mut watcher), Good(5));
    }

    #[test]
    fn a_file_that_goes_and_comes_back_is_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("q.yaml");
        write(&path, "outage_share: 1");
        let (_, mut watcher) = Watcher::open(&path).expect("a good file");
        fs::remove_file(&path).expect("removed");
        assert_eq!([(); 3].map(|()| look(&mut watcher)), [Nothing, Bad, Nothing]);
        write(&path, "outage_share: 1");
        assert_eq!([(); 3].map(|()| look(&mut watcher)), [Nothing, Good(1), Nothing]);
    }

    /// A ConfigMap in Kubernetes: the file is a link through a link to a
    /// directory, and an update swaps the inner link.
    #[test]
    fn the_swap_of_a_directory_behind_a_link_is_a_change() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for (version, text) in [("v1", "outage_share: 1"), ("v2", "outage_share: 2")] {
            fs::create_dir(at(version)).expect("created");
            write(&at(version).join("q.yaml"), text);
        }
        symlink("v1", at("..data")).expect("linked");
        symlink("..data/q.yaml", at("q.yaml")).expect("linked");
        let (config, mut watcher) = Watcher::open(&at("q.yaml")).expect("a good file");
        assert_eq!(config.outage_share, 1);
        symlink("v2", at("..data_tmp")).expect("linked");
        fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
        assert_eq!([(); 3].map(|()| look(&mut watcher)), [Nothing, Good(2), Nothing]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_tells_of_changes_until_nobody_listens() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("q.yaml");
        write(&path, "outage_share: 1");
        let (_, watcher) = Watcher::open(&path).expect("a good file");
        let (sender, mut receiver) = mpsc::channel(1);
        let task = tokio::spawn(watch(watcher, sender));
        write(&path, "outage_share: 2");
        let reload = receiver.recv().await.expect("a reload");
        assert_eq!(reload.outcome(), "accepted");
        write(&path, "outage_share: x");
        let reload = receiver.recv().await.expect("a reload");
        assert_eq!(reload.outcome(), "refused");
        drop(receiver);
        task.await.expect("no panic").expect("SIGHUP can be listened to");
    }

    /// Replaces the file, as editors do it: a new inode each time, so that the
    /// tests do not depend on the clock of the file system.
    fn write(path: &Path, text: &str) {
        let new = path.with_extension("new");
        fs::write(&new, text).expect("written");
        fs::rename(&new, path).expect("renamed");
    }

    fn look(watcher: &mut Watcher) -> Found {
        match watcher.look() {
            None => Nothing,
            Some(Ok(config)) => Good(config.outage_share),
            Some(Err(_)) => Bad,
        }
    }
}
