//! Whatever comes, no reader of it panics.
//!
//! The corpus that fuzzing has collected, `fuzz/corpus`, is given to the readers
//! again. And texts that Salesforce would hardly send go to every parser of what it
//! says: cut, doubled, mixed and mangled samples; `QUOTAGATE_FUZZ_INPUTS` is how
//! many, `QUOTAGATE_FUZZ_SEED` which; a failure says both, and the input.
#![cfg(all(feature = "client", feature = "server"))]

mod targets;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;
use targets::Target;

/// Inputs where nobody says how many.
const INPUTS: u64 = 200_000;

/// No input is longer, in bytes; a header of a report has at most 1 KiB.
const LONGEST: usize = 1024;

/// Pieces that mean something to one of the parsers.
const PIECES: [&str; 40] = [
    "api-usage=",
    "per-app-api-usage=",
    "api-bursts=",
    "(appName=",
    ")",
    "(",
    ";",
    ",",
    "/",
    "=",
    " ",
    "\t",
    "0",
    "18446744073709551615",
    "-1",
    "é",
    "\u{feff}",
    "\0",
    "<",
    "</",
    ">",
    "<limitInfo>",
    "</limitInfo>",
    "<current>",
    "<type>API REQUESTS</type>",
    "<![CDATA[",
    "]]>",
    "<!--",
    "&amp;",
    "{",
    "}",
    "\"",
    "\\",
    "\"Max\":",
    "\"Remaining\":",
    "\"DailyApiRequests\":",
    "REQUEST_LIMIT_EXCEEDED",
    " Limit exceeded.",
    "\"errorCode\":",
    "\"retryAfter\":",
];

/// The readers of what Salesforce says.
const PARSERS: [&str; 5] =
    ["limit_info", "soap_limit_info", "limits_resource", "error_body", "answer_headers"];

#[test]
fn no_input_makes_a_parser_panic() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let inputs = number("QUOTAGATE_FUZZ_INPUTS", INPUTS);
    let seed = number("QUOTAGATE_FUZZ_SEED", 1);
    let corpus = corpus();
    let parsers: Vec<_> =
        targets::ALL.iter().filter(|target| PARSERS.contains(&target.name)).collect();
    assert_eq!(parsers.len(), PARSERS.len());
    let mut random = fastrand::Rng::with_seed(seed);
    for input in 0..inputs {
        let text = mutated(&corpus, &mut random);
        for Target { name, run } in parsers.iter().copied() {
            let sound = catch_unwind(AssertUnwindSafe(|| run(text.as_bytes()))).is_ok();
            assert!(sound, "{name}, input {input} of seed {seed}: {text:?}");
        }
    }
}

/// Panics of every thread: one in a task of the service would end that task only.
static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn what_fuzzing_has_found_is_read_again() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    for Target { name, run } in targets::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("the corpus can be read").path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has a corpus");
        for file in files {
            let bytes = fs::read(&file).expect("the corpus can be read");
            let panics = PANICS.load(Ordering::Relaxed);
            let ended = catch_unwind(AssertUnwindSafe(|| run(&bytes))).is_ok();
            let sound = ended && panics == PANICS.load(Ordering::Relaxed);
            assert!(sound, "{name} does not bear {}", file.display());
        }
    }
}

#[test]
fn every_reader_has_its_program() {
    let programs = include_str!("../../fuzz/Cargo.toml");
    for Target { name, .. } in targets::ALL {
        let path = format!("path = \"fuzz_targets/{name}.rs\"");
        assert!(programs.contains(&path), "fuzz/Cargo.toml has no program for {name}");
    }
    let count = programs.matches("[[bin]]").count();
    assert_eq!(count, targets::ALL.len(), "and none without a reader");
}

/// The samples' texts, cut to a length that a caller may send.
fn corpus() -> Vec<String> {
    let samples: Value = serde_json::from_str(include_str!("../data/salesforce_samples.json"))
        .expect("the samples are JSON");
    let mut corpus = Vec::new();
    for (table, field) in [
        ("sforce_limit_info", "header"),
        ("soap_limit_info", "xml"),
        ("limits_json", "json"),
        ("error_responses", "body"),
    ] {
        for row in samples[table].as_array().expect("a table is an array") {
            let text = match &row[field] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            // Of a long one its beginning and the part that matters.
            let from = text.find("DailyApiRequests").map_or(0, |at| at.saturating_sub(2));
            corpus.push(cut(&text, LONGEST).to_owned());
            corpus.push(cut(&text[text.floor_char_boundary(from)..], LONGEST / 4).to_owned());
        }
    }
    corpus
}

/// A sample after some mischief.
fn mutated(corpus: &[String], random: &mut fastrand::Rng) -> String {
    let pick = |random: &mut fastrand::Rng| &corpus[random.usize(..corpus.len())];
    let mut text = pick(random).clone();
    for _ in 0..random.usize(1..6) {
        let from = place(&text, random);
        let to = text.ceil_char_boundary((from + random.usize(..24)).min(text.len()));
        match random.u8(..7) {
            0 => text.truncate(from),
            1 => text.replace_range(from..to, ""),
            2 => text.insert_str(from, PIECES[random.usize(..PIECES.len())]),
            3 => text.replace_range(from..to, PIECES[random.usize(..PIECES.len())]),
            4 => {
                let piece = text[from..to].repeat(random.usize(1..9));
                text.insert_str(from, &piece);
            }
            5 => {
                let other = pick(random);
                let start = place(other, random);
                text.insert_str(from, cut(&other[start..], random.usize(..64)));
            }
            _ => text.insert(from, random.char(..)),
        }
    }
    cut(&text, LONGEST).to_owned()
}

/// Anywhere between two characters.
fn place(text: &str, random: &mut fastrand::Rng) -> usize {
    text.floor_char_boundary(random.usize(..=text.len()))
}

fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}
