//! Texts that Salesforce would hardly send, to every parser of what it says: cut,
//! doubled, mixed and mangled samples. Whatever comes, nothing panics, and the
//! time that it takes stays in proportion to its length.
//!
//! `QUOTAGATE_FUZZ_INPUTS` is how many, `QUOTAGATE_FUZZ_SEED` which; a failure
//! says both, and the input.
#![cfg(feature = "server")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use quotagate::quota::salesforce::{ApiUsage, LimitInfo, errors::Trouble, limits};
use serde_json::Value;

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

/// One parser.
type Parser = fn(&str);

/// All of them.
const PARSERS: [(&str, Parser); 4] = [
    ("the header", |text| {
        if let Some(ApiUsage { .. }) = LimitInfo::parse(text).api_usage {
            assert!(text.contains('/'), "a figure needs both numbers");
        }
    }),
    ("SOAP", |text| {
        let _ = LimitInfo::parse_soap(text);
    }),
    ("the limits resource", |text| {
        for (name, _) in limits::limits(text) {
            assert!(text.contains(name), "a name is one of the text's");
        }
    }),
    ("errors", |text| {
        for status in [0, 200, 400, 403, 429, 503] {
            for (code, body) in [("", text), (text, ""), ("REQUEST_LIMIT_EXCEEDED", text)] {
                let trouble = Trouble::of(status, code, body, None);
                assert!(status != 200 || trouble.is_none(), "an answer that is good is none");
            }
        }
    }),
];

#[test]
fn no_input_makes_a_parser_panic() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let inputs = number("QUOTAGATE_FUZZ_INPUTS", INPUTS);
    let seed = number("QUOTAGATE_FUZZ_SEED", 1);
    let corpus = corpus();
    let mut random = fastrand::Rng::with_seed(seed);
    for input in 0..inputs {
        let text = mutated(&corpus, &mut random);
        for (name, parse) in PARSERS {
            let sound = catch_unwind(AssertUnwindSafe(|| parse(&text))).is_ok();
            assert!(sound, "{name}, input {input} of seed {seed}: {text:?}");
        }
    }
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
