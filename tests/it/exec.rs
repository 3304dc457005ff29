//! `quotagate exec` as a process, against the running service.

use std::{net::SocketAddr, process::Stdio};

use quotagate::proto::v1::{LimitScope, LimitUsage};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use crate::{
    common::TestServer,
    talk::{answered, limit},
};

/// Two reads of each user in an hour.
const CONFIG: &str = "
catalogue:
  read: {charges: [{limit: reads, scope: execution_user, max: 2, window: 1h}]}
";

/// `quotagate exec` with these options, a shell's script as its command.
fn exec(address: SocketAddr, options: &str, script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quotagate"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(["exec", "--server", &address.to_string()]);
    command.args(["--org", "acme", "--operation", "read", "--execution-user", "alice"]);
    command.args(options.split_whitespace()).args(["--", "sh", "-c", script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs it to its end: the code, and what it wrote to both outputs.
async fn run(address: SocketAddr, options: &str, script: &str) -> (Option<i32>, String, String) {
    let output = exec(address, options, script).output().await.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

async fn reads(server: &TestServer) -> LimitUsage {
    let usage = server.usage().await;
    let alice = usage.execution_users.iter().find(|user| user.execution_user == "alice");
    let alice = alice.expect("her limits are shown");
    limit(&alice.limits, LimitScope::ExecutionUser, "reads")
}

#[tokio::test]
async fn a_command_finds_its_permit_and_is_settled_by_its_end() {
    // (script, exit code): all of them ran.
    for (script, code) in [("", 0), ("exit 7", 7), ("kill -9 $$", 137), ("exit 3", 3)] {
        let server = TestServer::start(CONFIG).await;
        let print = "echo $QUOTAGATE_PERMIT_CALLS $QUOTAGATE_PERMIT_USER $QUOTAGATE_TTL_MS \
                     $QUOTAGATE_PERMIT_ID";
        let script = format!("{print}; {script}");
        let (ended, out, err) = run(server.grpc_addr, "--calls 2 --permit-ttl 4m", &script).await;
        assert_eq!((ended, err.as_str()), (Some(code), ""), "{script}");
        let words: Vec<&str> = out.split_whitespace().collect();
        let [calls, user, ttl, permit] = words[..] else { panic!("{out}") };
        assert_eq!((calls, user), ("2", "alice"));
        assert!((1..=240_000).contains(&ttl.parse::<u32>().expect("milliseconds")), "{ttl}");
        assert_eq!(reads(&server).await.used_by_caller, 2, "{script}: they count as sent");
        let permit =
            quotagate::proto::v1::Permit { permit_id: permit.into(), ..Default::default() };
        let report = quotagate::proto::v1::ReportRequest { calls: 2, ..answered(&permit, 200) };
        // What had no answer may still be told one; what had one is settled.
        assert_eq!(server.report(report).await, code == 0, "{script}");
    }
}

#[tokio::test]
async fn what_the_command_settles_by_itself_stays_so() {
    let server = TestServer::start(CONFIG).await;
    let program = env!("CARGO_BIN_EXE_quotagate");
    let address = server.grpc_addr;
    let script = format!("{program} release --unused-calls 1");
    let (ended, out, err) = run(address, "--calls 2", &script).await;
    assert_eq!((ended, err.as_str()), (Some(0), ""), "{out}");
    assert_eq!(reads(&server).await.used_by_caller, 1);
}

#[tokio::test]
async fn a_command_that_cannot_be_run_gives_its_calls_back() {
    let server = TestServer::start(CONFIG).await;
    let address = server.grpc_addr.to_string();
    for (command, code) in [("/nowhere/no-such-program", 127), ("/", 126)] {
        let line = ["exec", "--server", &address, "--org", "acme", "--operation", "read"];
        let mut program = Command::new(env!("CARGO_BIN_EXE_quotagate"));
        program.args(line).args(["--execution-user", "alice", "--", command]).env_clear();
        let output = program.output().await.expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot run"), "{output:?}");
        assert_eq!(reads(&server).await.used_by_caller, 0);
    }
}

#[tokio::test]
async fn without_a_permit_nothing_is_run() {
    let server = TestServer::start(CONFIG).await;
    let (ended, out, err) = run(server.grpc_addr, "--calls 3", "echo ran").await;
    assert_eq!((ended, out.as_str()), (Some(3), ""), "{err}");
    assert!(err.contains("denied: EXECUTION_USER_LIMIT"), "{err}");
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let gone = listener.local_addr().expect("it is bound");
    drop(listener);
    let (ended, out, err) = run(gone, "", "echo ran").await;
    assert_eq!((ended, out.as_str()), (Some(4), ""), "{err}");
}

/// Reads the child's output until it has this part.
async fn until(reader: &mut (impl tokio::io::AsyncBufRead + Unpin), part: &str) {
    let mut line = String::new();
    while !line.contains(part) {
        line.clear();
        let read = reader.read_line(&mut line).await.expect("text");
        assert_ne!(read, 0, "it ended without {part:?}");
    }
}

fn outputs(child: &mut Child) -> (BufReader<ChildStdout>, BufReader<ChildStderr>) {
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    (out, BufReader::new(child.stderr.take().expect("it is piped")))
}

#[tokio::test]
async fn signals_are_passed_on_and_the_command_decides_what_they_mean() {
    let server = TestServer::start(CONFIG).await;
    for (name, code) in [("TERM", 42), ("INT", 43)] {
        let script = format!("trap 'kill $!; exit {code}' {name}; sleep 60 & echo ready; wait");
        let mut child = exec(server.grpc_addr, "", &script).spawn().expect("it starts");
        let (mut out, _err) = outputs(&mut child);
        until(&mut out, "ready").await;
        let id = child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().await;
        assert!(sent.expect("kill runs").success());
        assert_eq!(child.wait().await.expect("it ends").code(), Some(code), "{name}");
    }
}

#[tokio::test]
async fn a_command_that_outlives_its_permit_is_warned_of_once() {
    let server = TestServer::start(CONFIG).await;
    let mut child =
        exec(server.grpc_addr, "--permit-ttl 1s", "read line").spawn().expect("it starts");
    let (_out, mut err) = outputs(&mut child);
    until(&mut err, "are not covered").await;
    child.stdin.take().expect("it is piped").write_all(b"go on\n").await.expect("it reads");
    assert_eq!(child.wait().await.expect("it ends").code(), Some(0));
    let mut rest = String::new();
    err.read_to_string(&mut rest).await.expect("text");
    assert!(!rest.contains("warning"), "{rest}");
}
