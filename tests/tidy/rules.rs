//! The rules. Each reads a tree and says what is wrong, one sentence a fault.

use std::collections::BTreeSet;

use crate::{
    CORE_MAY_NAME, FORBIDDEN_IN_CORE, HOMES, MOST_LINES, ROOMS,
    scan::{self, Path},
    tree::{self, Tree},
};

/// Says what is wrong with a tree.
pub type Rule = fn(&Tree) -> Vec<String>;

/// All of them.
pub const ALL: &[Rule] =
    &[rooms, direction, purity, homes, clocks, unfinished, size, reachable, documents];

/// Every room has its row in the table and its place in ARCHITECTURE.md.
pub fn rooms(tree: &Tree) -> Vec<String> {
    let names: BTreeSet<&str> = tree
        .files("src/", ".rs")
        .map(|(file, _)| room_of(file))
        .filter(|&name| name != "lib")
        .collect();
    let mut faults = Vec::new();
    for name in names {
        if !ROOMS.iter().any(|room| room.name == name) {
            faults.push(format!(
                "src/{name} is a new room: give it a row in ROOMS in tests/tidy/main.rs, with the \
                 rooms that it may name, and a place in the map of ARCHITECTURE.md"
            ));
        } else if !tree.text("ARCHITECTURE.md").contains(&format!("`{name}`")) {
            faults.push(format!("the map of ARCHITECTURE.md has no place for `{name}`"));
        }
    }
    faults
}

/// A room names only the rooms that the table allows it.
pub fn direction(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (file, text) in library(tree) {
        let Some(room) = ROOMS.iter().find(|room| room.name == room_of(file)) else { continue };
        let is_top = file.split('/').count() == 2;
        for path in paths_of_code(text) {
            let climbs_out = path.is_below("super::super")
                || is_top && path.depth == 0 && path.is_below("super");
            if climbs_out {
                faults.push(format!(
                    "{file}:{}: `{}`: paths that leave the room begin with `crate::`",
                    path.line, path.text
                ));
            }
            let Some(named) = named_room(&path) else { continue };
            if named != room.name && !room.may_name.contains(&named) {
                faults.push(format!(
                    "{file}:{}: `{}` may not name `{named}` (`{}`): see ROOMS in tests/tidy/main.rs",
                    path.line, room.name, path.text
                ));
            }
        }
    }
    faults
}

/// The core decides from arguments alone.
pub fn purity(tree: &Tree) -> Vec<String> {
    let dependencies = dependencies(tree.text("Cargo.toml"));
    let mut faults = Vec::new();
    // The simulation is compiled for tests only: it may ask which seeds to run.
    let simulates = tree.text("src/quota.rs").contains("#[cfg(test)]\npub(crate) mod sim;");
    let is_core =
        |file: &str| room_of(file) == "quota" && !(simulates && file.starts_with("src/quota/sim"));
    for (file, text) in library(tree).filter(|(file, _)| is_core(file)) {
        for path in paths_of_code(text) {
            let root = path.segment(0).unwrap_or_default();
            let is_clock =
                path.text.split("::").any(|part| matches!(part, "Instant" | "SystemTime"));
            let is_effect = dependencies.contains(root) && !CORE_MAY_NAME.contains(&root)
                || FORBIDDEN_IN_CORE.iter().any(|forbidden| path.is_below(forbidden));
            if is_clock || is_effect {
                faults.push(format!(
                    "{file}:{}: the core names `{}`; it decides from arguments alone",
                    path.line, path.text
                ));
            }
        }
    }
    faults
}

/// What has a home is named there only.
pub fn homes(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (file, text) in library(tree) {
        for path in paths_of_code(text) {
            for home in HOMES {
                let at_home = home.homes.iter().any(|&home| {
                    file == home
                        || file.strip_prefix(home).is_some_and(|rest| rest.starts_with(['/', '.']))
                });
                if !at_home && from_crate(&path).is_below(home.path) {
                    faults.push(format!(
                        "{file}:{}: `{}` belongs to {}: {}",
                        path.line,
                        path.text,
                        home.homes.join(", "),
                        home.reason
                    ));
                }
            }
        }
    }
    faults
}

/// The clocks of the operating system are read in `src/clock.rs`.
pub fn clocks(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (file, text) in tree.files("src/", ".rs").filter(|(file, _)| *file != "src/clock.rs") {
        let paths = scan::paths(&scan::code(text));
        let has_std_instant = paths.iter().any(|path| path.is_below("std::time::Instant"));
        for path in &paths {
            let reads = path.text.ends_with("SystemTime::now")
                || path.text.ends_with("::clock_gettime")
                || path.text == "Instant::now" && has_std_instant
                || path.text == "std::time::Instant::now";
            if reads {
                faults.push(format!(
                    "{file}:{}: `{}`: clocks are read in src/clock.rs only",
                    path.line, path.text
                ));
            }
        }
    }
    faults
}

/// Nothing waits to be written.
pub fn unfinished(tree: &Tree) -> Vec<String> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut faults = Vec::new();
    for (file, text) in sources(tree) {
        for (n, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                faults.push(format!("{file}:{}: do it, or say it in an issue", n + 1));
            }
        }
        for (line, name) in scan::macros(&scan::code(text)) {
            if matches!(name, "todo" | "unimplemented" | "dbg") {
                faults.push(format!("{file}:{line}: `{name}!` is left over"));
            }
        }
    }
    faults
}

/// A file can be read in one go.
pub fn size(tree: &Tree) -> Vec<String> {
    sources(tree)
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|&(_, lines)| lines > MOST_LINES)
        .map(|(file, lines)| {
            format!(
                "{file} has {lines} lines, more than {MOST_LINES}: give its second subject a room"
            )
        })
        .collect()
}

/// Every source belongs to a target: no test is forgotten, no code is dead.
pub fn reachable(tree: &Tree) -> Vec<String> {
    let is_root = |file: &str| {
        let parts: Vec<&str> = file.split('/').collect();
        matches!(
            parts[..],
            ["src", "lib.rs"]
                | ["src", "bin", _]
                | ["tests" | "examples", _]
                | ["tests", _, "main.rs"]
        )
    };
    let all: BTreeSet<&str> = sources(tree).map(|(file, _)| file).collect();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut next: Vec<String> =
        all.iter().filter(|file| is_root(file)).map(|&file| file.to_owned()).collect();
    while let Some(file) = next.pop() {
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", &file));
        let folder = if is_root(&file) || name == "mod.rs" {
            folder.to_owned()
        } else {
            file.trim_end_matches(".rs").to_owned()
        };
        for module in scan::modules(&scan::code(tree.text(&file))) {
            next.push(format!("{folder}/{module}.rs"));
            next.push(format!("{folder}/{module}/mod.rs"));
        }
        next.extend(scan::module_paths(tree.text(&file)).map(|path| tree::resolve(&file, path)));
        next.retain(|file| all.contains(file.as_str()) && !reached.contains(file));
        reached.insert(file);
    }
    all.iter()
        .filter(|&&file| !reached.contains(file))
        .map(|file| format!("{file} is never compiled: no `mod` leads to it"))
        .collect()
}

/// Links, and paths in code spans, lead somewhere.
pub fn documents(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (file, text) in tree.files("", ".md") {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !tree.leads_somewhere(file, target)
            {
                faults.push(format!("{file}: the link `{link}` leads nowhere"));
            }
        }
        for span in text.split('`').skip(1).step_by(2) {
            let is_path =
                ["src/", "tests/", "docs/", "proto/"].iter().any(|top| span.starts_with(top))
                    && !span.contains([' ', '*', '{', '…', '\n']);
            if is_path && !tree.leads_somewhere("", span) {
                faults.push(format!("{file}: there is no `{span}`"));
            }
        }
    }
    faults
}

/// The Rust sources, tests among them.
fn sources(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.files("src/", ".rs")
        .chain(tree.files("tests/", ".rs"))
        .chain(tree.files("examples/", ".rs"))
}

/// The sources under `src/`, without the files that hold unit tests only.
fn library(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.files("src/", ".rs").filter(|(file, _)| !file.ends_with("/tests.rs"))
}

/// The paths that a file's code names, its unit tests left out.
fn paths_of_code(text: &str) -> Vec<Path> {
    scan::paths(&scan::without_tests(&scan::code(text)))
}

/// The room that a file under `src/` belongs to.
fn room_of(file: &str) -> &str {
    let inner = file.strip_prefix("src/").unwrap_or(file);
    inner.split(['/', '.']).next().unwrap_or(inner)
}

/// The room of this crate that a path leads to, if it does.
fn named_room(path: &Path) -> Option<&'static str> {
    let is_ours = matches!(path.segment(0), Some("crate" | "quotagate"));
    let name = path.segment(1).filter(|_| is_ours)?;
    ROOMS.iter().map(|room| room.name).find(|&room| room == name)
}

/// The path as it would be written inside the library.
fn from_crate(path: &Path) -> Path {
    let text = match path.text.strip_prefix("quotagate::") {
        Some(rest) => format!("crate::{rest}"),
        None => path.text.clone(),
    };
    Path { text, ..*path }
}

/// The names, as in code, of what `[dependencies]` lists.
fn dependencies(cargo: &str) -> BTreeSet<String> {
    cargo
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().replace('-', "_"))
        .collect()
}
