//! Compiles the protos with protox, so that nobody needs protoc for them, and says
//! which commit is built.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    tell_commit();
    let any = |names: &[&str]| {
        names.iter().any(|name| env::var_os(format!("CARGO_FEATURE_{name}")).is_some())
    };
    if !any(&["CLIENT", "SERVER"]) {
        return Ok(());
    }
    let server = any(&["SERVER"]);
    let mut files = vec!["quotagate/v1/quota.proto", "quotagate/admin/v1/admin.proto"];
    // What clients may know: neither the store's own format nor what nodes say to
    // each other is among it.
    let public = protox::compile(&files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("public.binpb"), public.encode_to_vec())?;
    if server {
        files.push("quotagate/store/v1/store.proto");
        files.push("quotagate/peer/v1/peer.proto");
        // What Envoy speaks, for reflection.
        let envoy =
            ["envoy/service/ratelimit/v3/rls.proto", "envoy/service/accesslog/v3/als.proto"];
        fs::write(out.join("envoy.binpb"), protox::compile(envoy, ["proto"])?.encode_to_vec())?;
        files.extend(envoy);
    }
    let all = protox::compile(&files, ["proto"])?;
    // The names tie each message to its descriptor, for JSON.
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .build_server(server)
        .build_client(true)
        .compile_fds_with_config(all, config)?;
    Ok(())
}

/// Tells the program its commit: that of `QUOTAGATE_COMMIT`, or of a release in a
/// checkout. A development build in a checkout has none: every commit would have it
/// compiled anew.
fn tell_commit() {
    println!("cargo:rerun-if-env-changed=QUOTAGATE_COMMIT");
    let told = env::var("QUOTAGATE_COMMIT").ok().filter(|told| !told.is_empty());
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = told.or_else(|| is_release.then(checked_out).flatten());
    let version = env!("CARGO_PKG_VERSION");
    let (commit, version) = match commit {
        Some(commit) => (commit.clone(), format!("{version} ({commit})")),
        None => ("unknown".to_owned(), version.to_owned()),
    };
    println!("cargo:rustc-env=QUOTAGATE_COMMIT={commit}");
    println!("cargo:rustc-env=QUOTAGATE_VERSION={version}");
}

/// The commit that is checked out here, if this is the top of a checkout: the
/// sources may as well lie unpacked within somebody else's.
fn checked_out() -> Option<String> {
    let git = |arguments: &[&str]| {
        let done = Command::new("git").args(arguments).output().ok()?;
        let said = String::from_utf8(done.stdout).ok()?.trim().to_owned();
        (done.status.success() && !said.is_empty()).then_some(said)
    };
    let top = fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()?;
    if top != fs::canonicalize(env::var_os("CARGO_MANIFEST_DIR")?).ok()? {
        return None;
    }
    // It has a line more after every commit and checkout. Where there is none, cargo
    // would run this at every build.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}
