//! What the file store promises besides: it remembers, it is held by one
//! process, and what it cannot use it refuses with a sentence.

use std::{
    fs,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use quotagate::{
    quota::Wall,
    store::{
        FileStore, OpenError, SharedStore, Store as _, StoreAddress, StoreOptions, Txn, TxnOutcome,
        open,
    },
};
use tempfile::TempDir;

use crate::words::{absent, dump, get, modified_at, put, together, txn, write};

const DATABASE: &str = "quotagate.redb";

/// A directory with a store that was closed, and what is in it.
async fn closed_store() -> (TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    for n in 0..20 {
        write(&store, [put(&format!("k{n}"), &"value ".repeat(n))]).await;
    }
    let content = dump(&store).await;
    store.close();
    (dir, content)
}

/// What a crash would leave: the files as they are now, nothing closed.
fn crash(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(dir.join(DATABASE), copy.path().join(DATABASE)).unwrap();
    copy
}

fn refusal(dir: &Path) -> OpenError {
    FileStore::open(dir).expect_err("must be refused")
}

#[tokio::test]
async fn a_directory_that_does_not_exist_is_made_with_its_parents() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    write(&FileStore::open(&deep).unwrap(), [put("a", "1")]).await;
    assert!(deep.join(DATABASE).is_file());
}

#[tokio::test]
async fn revisions_go_on_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..4 {
        let store = FileStore::open(dir.path()).unwrap();
        assert_eq!(write(&store, []).await, life * 2);
        assert_eq!(write(&store, [put("a", "1")]).await, life * 2 + 1);
        // The greatest revision may be that of a key that is gone.
        assert_eq!(write(&store, [crate::words::delete("a")]).await, life * 2 + 2);
        store.close();
    }
}

#[tokio::test]
async fn content_outlives_the_process() {
    let (dir, content) = closed_store().await;
    assert_eq!(dump(&FileStore::open(dir.path()).unwrap()).await, content);
}

#[tokio::test]
async fn what_was_answered_as_done_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    for n in 0..30 {
        let revision = write(&store, [put("k", &n.to_string()), put(&format!("k{n}"), "")]).await;
        let content = dump(&store).await;
        let copy = crash(dir.path());
        let after = FileStore::open(copy.path()).unwrap();
        assert_eq!(dump(&after).await, content);
        assert_eq!(write(&after, [put("k", "")]).await, revision + 1);
    }
}

#[tokio::test]
async fn transactions_committed_together_survive_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(FileStore::open(dir.path()).unwrap());
    let txns =
        (0..200).map(|n| txn([absent(&format!("k{}", n / 2))], [put(&format!("k{}", n / 2), "")]));
    let outcomes = together(&store, txns.collect()).await;
    let done = |outcome: &TxnOutcome| matches!(outcome, TxnOutcome::Done { .. });
    // In the order in which they were handed over: of each pair the first wins.
    let expected: Vec<bool> = (0..200).map(|n| n % 2 == 0).collect();
    assert_eq!(outcomes.iter().map(done).collect::<Vec<_>>(), expected);
    let after = FileStore::open(crash(dir.path()).path()).unwrap();
    assert_eq!(dump(&after).await, dump(&*store).await);
}

#[tokio::test]
async fn dropping_the_store_carries_out_what_was_handed_over_and_frees_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..20_u64 {
        let store: SharedStore = Arc::new(FileStore::open(dir.path()).unwrap());
        assert_eq!(get(&*store, "n").await.map_or(0, |entry| entry.mod_revision), n);
        let task = {
            let store = store.clone();
            tokio::spawn(async move { store.txn(txn([modified_at("n", n)], [put("n", "")])).await })
        };
        drop(store);
        let outcome = task.await.unwrap().unwrap();
        assert_eq!(outcome, TxnOutcome::Done { revision: n + 1 });
    }
}

#[tokio::test]
async fn the_wall_clock_of_the_last_writer_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let at = |wall, key: &str, when: &[_]| Txn { wall, ..txn(when, [put(key, "")]) };
    for (before, wall, when, after) in [
        (None, None, vec![], None),
        (None, Some(Wall(5_000)), vec![], Some(Wall(5_000))),
        // The clock was set back: time would otherwise run ahead of what is
        // written from now on, and let it leave too early after a restart.
        (Some(Wall(5_000)), Some(Wall(4_000)), vec![], Some(Wall(4_000))),
        (Some(Wall(4_000)), Some(Wall(5_000)), vec![], Some(Wall(5_000))),
        (Some(Wall(5_000)), None, vec![], Some(Wall(5_000))),
        // A conflict writes nothing, its clock neither.
        (Some(Wall(5_000)), Some(Wall(9_000)), vec![modified_at("a", 777)], Some(Wall(5_000))),
        (Some(Wall(5_000)), Some(Wall(u64::MAX)), vec![], Some(Wall(u64::MAX))),
    ] {
        let store = FileStore::open(dir.path()).unwrap();
        assert_eq!(store.last_wall(), before);
        store.txn(at(wall, "a", &when)).await.unwrap();
        assert_eq!(store.last_wall(), before, "as of the opening");
        let crashed = FileStore::open(crash(dir.path()).path()).unwrap();
        assert_eq!(crashed.last_wall(), after);
        store.close();
        let address = StoreAddress::File(dir.path().into());
        assert_eq!(open(&address, &StoreOptions::default()).unwrap().last_wall, after);
    }
}

#[tokio::test]
async fn a_second_opening_is_refused_and_told_who_holds_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    for _ in 0..2 {
        let error = refusal(dir.path());
        let OpenError::Locked { holder, .. } = &error else { panic!("{error:?}") };
        let name = format!("process {}", process::id());
        assert!(holder.name.starts_with(&name), "{holder:?}");
        assert!(holder.since.starts_with("20") && holder.since.ends_with('Z'), "{holder:?}");
        let sentence = error.to_string();
        assert!(sentence.contains(&format!("is in use by {name}")), "{sentence}");
        assert!(sentence.ends_with("stop that process, or name another directory"), "{sentence}");
    }
    // The holder is none the worse for it.
    write(&store, [put("a", "1")]).await;
    store.close();
    assert!(get(&FileStore::open(dir.path()).unwrap(), "a").await.is_some());
}

#[tokio::test]
async fn the_database_itself_is_locked_too() {
    // Somebody removed the lock while the store was open.
    let dir = tempfile::tempdir().unwrap();
    let _store = FileStore::open(dir.path()).unwrap();
    fs::remove_file(dir.path().join("LOCK")).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains("is in use by another process:"), "{error}");
}

#[test]
fn another_process_is_refused_too() {
    const DIR: &str = "QUOTAGATE_TEST_LOCKED_DIR";
    if let Some(dir) = std::env::var_os(DIR) {
        println!("refused: {}", refusal(Path::new(&dir)));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let _store = FileStore::open(dir.path()).unwrap();
    // This very test, as another process.
    let output = process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "file::another_process_is_refused_too", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = format!("is in use by process {}", process::id());
    assert!(output.status.success() && said.contains(&expected), "{said}");
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let (dir, content) = closed_store().await;
    set_format(dir.path(), Some(2));
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::NewerFormat { found: 2, .. }), "{error:?}");
    assert!(
        error.to_string().ends_with("run the version of quotagate that wrote it, or a later one")
    );
    // The version that wrote it finds everything.
    set_format(dir.path(), Some(1));
    assert_eq!(dump(&FileStore::open(dir.path()).unwrap()).await, content);
}

#[tokio::test]
async fn a_database_that_does_not_say_its_format_is_refused() {
    for format in [None, Some(0)] {
        let (dir, _) = closed_store().await;
        set_format(dir.path(), format);
        check_damaged(dir.path());
    }
    // A database, but of something else.
    let dir = tempfile::tempdir().unwrap();
    drop(redb::Database::create(dir.path().join(DATABASE)).unwrap());
    check_damaged(dir.path());
}

fn set_format(dir: &Path, format: Option<u64>) {
    let database = redb::Database::open(dir.join(DATABASE)).unwrap();
    let write = database.begin_write().unwrap();
    {
        let table = redb::TableDefinition::<&str, u64>::new("meta");
        let mut meta = write.open_table(table).unwrap();
        match format {
            Some(format) => meta.insert("format", format).unwrap(),
            None => meta.remove("format").unwrap(),
        };
    }
    write.commit().unwrap();
}

fn check_damaged(dir: &Path) {
    let error = refusal(dir);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    let sentence = error.to_string();
    assert!(
        sentence.contains("is damaged (") && sentence.contains("put back a copy"),
        "{sentence}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    for content in [
        vec![],
        b"x".to_vec(),
        b"orgs: []\n".to_vec(),
        vec![0; 100_000],
        (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DATABASE), &content).unwrap();
        check_damaged(dir.path());
        assert_eq!(fs::read(dir.path().join(DATABASE)).unwrap(), content);
    }
}

#[tokio::test]
async fn a_truncated_database_is_refused() {
    let (dir, _) = closed_store().await;
    let path = dir.path().join(DATABASE);
    let whole = fs::read(&path).unwrap();
    for eighths in 0..8 {
        let cut = tempfile::tempdir().unwrap();
        let length = whole.len() * eighths / 8;
        fs::write(cut.path().join(DATABASE), &whole[..length]).unwrap();
        check_damaged(cut.path());
    }
    for length in [whole.len() - 1, 4096, 512, 64] {
        let cut = tempfile::tempdir().unwrap();
        fs::write(cut.path().join(DATABASE), &whole[..length]).unwrap();
        check_damaged(cut.path());
    }
}

#[tokio::test]
async fn a_flipped_bit_is_refused_or_of_no_consequence() {
    let (dir, content) = closed_store().await;
    check_flipped_bits(&dir, &content).await;
}

#[tokio::test]
async fn a_flipped_bit_after_a_crash_is_refused_or_of_no_consequence() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    for n in 0..20 {
        write(&store, [put(&format!("k{n}"), &"value ".repeat(n))]).await;
    }
    let content = dump(&store).await;
    check_flipped_bits(&crash(dir.path()), &content).await;
}

/// Flips one bit at a time: every one of the header, and others all over.
async fn check_flipped_bits(dir: &TempDir, content: &[String]) {
    const HEADER: usize = 320;
    // Says which of two commits is the newer one, and is covered by no checksum:
    // flipped, it undoes the last commit and looks like a crash in mid-commit.
    const NEWER_COMMIT: (usize, usize) = (9, 0);
    let whole = fs::read(dir.path().join(DATABASE)).unwrap();
    let header = (0..HEADER).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    let used: Vec<usize> = (HEADER..whole.len()).filter(|at| whole[*at] != 0).collect();
    let all_over = used.iter().step_by((used.len() / 300).max(1)).map(|at| (*at, at % 8));
    let mut refused = 0;
    for (at, bit) in header.chain(all_over).filter(|flip| *flip != NEWER_COMMIT) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << bit;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DATABASE), flipped).unwrap();
        match FileStore::open(dir.path()) {
            Ok(store) => assert_eq!(dump(&store).await, content, "bit {bit} of byte {at}"),
            Err(error) => {
                let damaged = matches!(error, OpenError::Damaged { .. });
                assert!(damaged, "bit {bit} of byte {at}: {error:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > 300, "only {refused} were refused");
}

#[tokio::test]
async fn an_interrupted_making_of_the_store_is_made_again() {
    for leftover in ["", "half a database"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("quotagate.redb.new"), leftover).unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        write(&store, [put("a", "1")]).await;
        assert!(!dir.path().join("quotagate.redb.new").exists());
    }
}

#[test]
fn what_is_not_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = refusal(&path);
        assert!(matches!(error, OpenError::NotADirectory { .. }), "{error:?}");
        assert!(error.to_string().ends_with("name a directory, or a path that is free"));
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[tokio::test]
async fn what_may_not_be_written_is_refused() {
    let (dir, _) = closed_store().await;
    let parent = tempfile::tempdir().unwrap();
    let below = parent.path().join("below");
    for (locked, path) in [(dir.path(), dir.path().to_owned()), (parent.path(), below)] {
        let _reset = ReadOnly::make(locked);
        if fs::write(locked.join("probe"), "").is_ok() {
            // The superuser may write everywhere.
            let _ = fs::remove_file(locked.join("probe"));
            return;
        }
        check_not_writable(&path);
    }
}

fn check_not_writable(path: &Path) {
    let error = refusal(path);
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("give this process's user the right to write there"));
}

/// Takes away the right to write, until it is dropped.
struct ReadOnly(Vec<PathBuf>);

impl ReadOnly {
    fn make(dir: &Path) -> Self {
        let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let all: Vec<PathBuf> = files.chain([dir.to_owned()]).collect();
        for path in &all {
            fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
        }
        Self(all)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o755));
        }
    }
}

#[tokio::test]
async fn damage_that_is_done_while_the_store_is_open_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    write(&store, [put("a", "1")]).await;
    let mut file =
        fs::OpenOptions::new().read(true).write(true).open(dir.path().join(DATABASE)).unwrap();
    overwrite(&mut file).unwrap();
    // Whatever is answered, it is an answer, and holds after reopening.
    let _ = store.range("").await;
    let outcome = store.txn(txn([], [put("b", "2")])).await;
    store.close();
    match FileStore::open(dir.path()) {
        Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}"),
        Ok(store) => {
            assert_eq!(get(&store, "b").await.is_some(), outcome.is_ok());
        }
    }
}

fn overwrite(file: &mut fs::File) -> io::Result<()> {
    let mut length = 0;
    let mut page = [0; 4096];
    while let read @ 1.. = file.read(&mut page)? {
        length += read;
    }
    file.seek(SeekFrom::Start(4096))?;
    file.write_all(&vec![0xee; length - 4096])
}
