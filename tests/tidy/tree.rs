//! The project's text files, real or planted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path},
};

/// Files by their path from the project's root, with `/` between.
pub struct Tree {
    texts: BTreeMap<String, String>,
    /// Every file and folder, also those that are no text.
    names: BTreeSet<String>,
}

impl Tree {
    /// The project itself.
    pub fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut tree = Self { texts: BTreeMap::new(), names: BTreeSet::new() };
        tree.walk(root, root);
        tree
    }

    /// Files with these names and texts.
    pub fn planted(files: &[(&str, &str)]) -> Self {
        let texts: BTreeMap<String, String> =
            files.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
        let names = texts
            .keys()
            .flat_map(|name| Path::new(name).ancestors())
            .map(|path| path.display().to_string())
            .collect();
        Self { texts, names }
    }

    /// One file's text; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.texts.get(name).map_or("", String::as_str)
    }

    /// The files whose names begin and end so.
    pub fn files<'a>(
        &'a self,
        begin: &'a str,
        end: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts
            .iter()
            .filter(move |(name, _)| name.starts_with(begin) && name.ends_with(end))
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// True if `link`, written in the file `from`, leads to a file or folder.
    pub fn leads_somewhere(&self, from: &str, link: &str) -> bool {
        self.names.contains(&resolve(from, link))
    }

    fn walk(&mut self, root: &Path, folder: &Path) {
        let entries = fs::read_dir(folder).expect("the project can be read");
        for entry in entries {
            let path = entry.expect("the project can be read").path();
            let inner = path.strip_prefix(root).expect("the walk stays below the root");
            let name = inner.to_str().expect("names are UTF-8").replace('\\', "/");
            // What builds and package managers leave behind, in any folder.
            let left_behind =
                ["target", ".git", ".tools", ".venv", "node_modules", "quotagate-data"];
            if inner.file_name().is_some_and(|last| left_behind.iter().any(|name| last == *name)) {
                continue;
            }
            if path.is_dir() {
                self.walk(root, &path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                self.texts.insert(name.clone(), text);
            }
            self.names.insert(name);
        }
    }
}

/// The file that `link`, written in the file `from`, means.
pub fn resolve(from: &str, link: &str) -> String {
    let mut at: Vec<&str> = from.split('/').collect();
    at.pop();
    for part in Path::new(link).components() {
        match part {
            Component::Normal(name) => at.extend(name.to_str()),
            Component::ParentDir => {
                at.pop();
            }
            _ => {}
        }
    }
    at.join("/")
}
