//! What README and the examples show works: every configuration in them is good.

#![cfg(feature = "server")]

use std::{fs, path::Path};

use quotagate::config::Config;

/// Checks a configuration as `quotagate check` does.
fn check(name: &str, yaml: &str) {
    if let Err(faults) = Config::parse(yaml) {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{name}: {}", faults.join("\n"));
    }
}

/// The YAML blocks of a document.
fn yaml_blocks(document: &str) -> Vec<&str> {
    let blocks = document.split("```yaml\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn every_configuration_in_the_documents_is_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["README.md", "docs/envoy.md", "docs/operations.md"] {
        let text = fs::read_to_string(root.join(name)).expect("the document is there");
        for (number, yaml) in (1..).zip(yaml_blocks(&text)) {
            check(&format!("{name}, YAML block {number}"), yaml);
        }
        assert!(name != "README.md" || !yaml_blocks(&text).is_empty(), "README has an example");
    }
}

#[test]
fn every_example_is_good() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in fs::read_dir(examples).expect("there are examples") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            check(&path.display().to_string(), &fs::read_to_string(&path).expect("a text"));
            seen += 1;
        }
    }
    assert_ne!(seen, 0);
}
