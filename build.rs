//! Compiles the protos with protox, so that nobody needs protoc for them.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
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
