//! `quotagate token`: a new static token, and what the configuration says of it.

use std::io::{Read as _, stdin};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{
    exit::{Exit, Fault},
    output::{self, Format},
};
use crate::auth::token::{Hex, hash, of_random};

pub const HELP: &str = "\
Prints the token, and then the line for `auth.tokens` of the configuration, which
holds its hash only. The token is kept nowhere: give it to the caller now.

Examples:
  quotagate token ci
  quotagate token ci -o json
  quotagate token ci --hash < token.txt           the line for a token that there is";

/// Which token.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The name in the configuration: its bearer is token:NAME
    #[arg(value_name = "NAME", default_value = "NAME", value_parser = parse_name)]
    name: String,
    /// Read a token from standard input, and print the line for it only
    #[arg(long)]
    hash: bool,
    /// How to print it: for people, or as JSON
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// A longer one is none.
const MOST_BYTES: usize = 8 << 10;

/// Whoever tries them all finds a shorter one.
const LEAST_BYTES: usize = 16;

/// Prints a token.
pub fn token(args: &TokenArgs) -> Result<Exit, Fault> {
    let token = if args.hash { read()? } else { new()? };
    let (name, hash) = (&args.name, hash(&token));
    let sha256 = Hex(&hash);
    let new = (!args.hash).then_some(&token);
    output::print(&match args.output {
        Format::Table => {
            let new = new.map(|token| format!("{token}\n")).unwrap_or_default();
            format!("{new}- {{name: {name}, sha256: {sha256}}}\n")
        }
        Format::Json => {
            let mut answer = json!({"name": name, "sha256": sha256.to_string()});
            if let Some(token) = new {
                answer["token"] = json!(token);
            }
            format!("{answer:#}\n")
        }
    })?;
    Ok(Exit::Done)
}

fn parse_name(text: &str) -> Result<String, &'static str> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(is_good) {
        return Ok(text.to_owned());
    }
    Err("must be 1 to 64 letters, digits, dots, dashes or underscores")
}

fn new() -> Result<String, Fault> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the operating system gives no random numbers")?;
    Ok(of_random(&bytes))
}

fn read() -> Result<String, Fault> {
    let mut text = String::new();
    stdin().take(MOST_BYTES as u64 + 1).read_to_string(&mut text)?;
    let token = text.trim_end_matches(['\r', '\n']);
    let is_token = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token || !(LEAST_BYTES..=MOST_BYTES).contains(&token.len()) {
        return Err(Fault::usage(
            "standard input must hold one token: 16 bytes to 8 KiB of printable ASCII, no blanks",
        ));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_line_for_a_new_token_can_be_read_and_is_its_own() {
        let (one, other) = (new().expect("random numbers"), new().expect("random numbers"));
        assert!(one.starts_with("qg_") && one.len() == 46 && one != other, "{one}");
        let line = format!("auth:\n  tokens:\n  - {{name: ci, sha256: {}}}\n", Hex(&hash(&one)));
        let auth = Config::parse(&line).expect("it is good").auth;
        assert_eq!(auth.tokens[0].sha256, hash(&one));
    }

    #[test]
    fn the_hash_is_the_one_that_other_programs_compute() {
        // printf abc | sha256sum
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Hex(&hash("abc")).to_string(), expected);
    }
}
