//! `quotagate exec`: a command that runs with a permit, for scripts and jobs that
//! cannot ask for themselves.

use std::{
    ffi::OsString,
    io::{ErrorKind, IsTerminal as _},
    os::unix::process::ExitStatusExt as _,
    process::ExitStatus,
    time::Duration,
};

use clap::Args;
use rustix::process::{Pid, Signal as Sent, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use super::{
    call::{AskArgs, denial_text, undecided},
    connection::Connection,
    exit::{Exit, Fault, tell},
    output::clean,
    table::human,
};
use crate::{
    client::Client,
    clock::Moment,
    proto::v1::{AcquireMode, Permit, ReleaseRequest, ReportRequest, acquire_response::Outcome},
};

pub const HELP: &str = "\
The command finds what it was granted in its environment:

    QUOTAGATE_PERMIT_ID     names the permit
    QUOTAGATE_PERMIT_USER   the Salesforce user to make the calls as
    QUOTAGATE_PERMIT_CALLS  how many calls it may start
    QUOTAGATE_TTL_MS        within so many milliseconds of its own start

`quotagate report` and `quotagate release` find server and permit there, too. What the command has not
settled by itself is settled at its end: after exit 0 its calls count as answered at that moment,
after any other end as sent, and without an answer. If it could not be started at all, the calls
are given back.

Signals are passed on, and its exit code is (128 + N where signal N ended it; 127 where there is
no such command, 126 where it cannot be run). Without a permit it is not run: 3 denied, 4
unavailable.

Examples:
  quotagate exec --org acme --operation rest -- curl -fsS https://acme.my.salesforce.com/…
  quotagate exec --org acme --operation rest --traffic-class bulk --calls 20 --max-wait 10m -- ./sync.sh";

/// What to ask for, and what to run.
#[derive(Debug, Args)]
pub struct ExecArgs {
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    connection: Connection,
    /// The command and its arguments, after a `--`
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs a command with a permit.
pub async fn exec(args: ExecArgs) -> Result<Exit, Fault> {
    let client = args.connection.connect().await?;
    // The permit's life counts from here on, whenever the answer comes.
    let asked = Moment::now();
    let response = args.ask.ask(client.clone(), AcquireMode::Enforce).await?;
    let permit = match response.outcome {
        Some(Outcome::Permit(permit)) => permit,
        Some(Outcome::Denial(denial)) => {
            // Standard output is the command's.
            eprint!("{}", denial_text(&denial));
            return Ok(Exit::Denied);
        }
        None => return Err(undecided()),
    };
    let ttl = permit.ttl.and_then(|ttl| Duration::try_from(ttl).ok()).unwrap_or_default();
    let deadline = asked + ttl;
    let left = deadline.since(Moment::now());
    if left.is_zero() {
        give_back(&client, permit).await;
        return Err(Fault::unavailable("the permit came when its life was over: nothing was run"));
    }
    let mut signals = Signals::listen()?;
    match start(&args.command, &args.connection, &permit, deadline) {
        Ok(mut child) => {
            let status = attend(&mut child, &mut signals, deadline, ttl).await?;
            settle(&client, permit, status).await;
            Ok(Exit::Of(code_of(status)))
        }
        Err(error) => {
            give_back(&client, permit).await;
            let name = args.command[0].to_string_lossy();
            eprintln!("error: cannot run {}: {error}", clean(&name));
            Ok(Exit::Of(if error.kind() == ErrorKind::NotFound { 127 } else { 126 }))
        }
    }
}

fn start(
    command: &[OsString],
    connection: &Connection,
    permit: &Permit,
    deadline: Moment,
) -> std::io::Result<Child> {
    let left = deadline.since(Moment::now());
    let mut child = Command::new(&command[0]);
    child
        .args(&command[1..])
        .envs(connection.variables())
        .env("QUOTAGATE_PERMIT_ID", &permit.permit_id)
        // Not under the names of options: a `report` of the command's is of one
        // call unless it says more, and an `acquire` of its own asks for what it says.
        .env("QUOTAGATE_PERMIT_USER", &permit.execution_user)
        .env("QUOTAGATE_PERMIT_CALLS", permit.calls.to_string())
        .env("QUOTAGATE_TTL_MS", left.as_millis().to_string());
    child.spawn()
}

/// How often to look whether the permit's life is over.
const LOOK: Duration = Duration::from_secs(1);

/// Waits for the command's end. Passes signals on meanwhile, and says when the
/// permit's life is over while the command still runs.
async fn attend(
    child: &mut Child,
    signals: &mut Signals,
    deadline: Moment,
    ttl: Duration,
) -> Result<ExitStatus, Fault> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut is_covered = true;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?),
            sent = signals.next() => {
                // It may have ended just now; it is not reaped before `wait` is over,
                // so nobody else has its number.
                if let Some(pid) = pid {
                    let _ = kill_process(pid, sent);
                }
            }
            // In steps: a timer stands still while the machine is suspended.
            () = sleep(deadline.since(Moment::now()).min(LOOK)), if is_covered => {
                if Moment::now() < deadline {
                    continue;
                }
                is_covered = false;
                eprintln!(
                    "warning: the permit's life of {} is over: calls that the command starts from \
                     now on are not covered (a longer --permit-ttl, or a permit for each part)",
                    human(ttl)
                );
            }
        }
    }
}

/// The signals that are meant for the command.
struct Signals {
    terminate: Signal,
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    user: [Signal; 2],
    /// A terminal sends what its keys mean to the command as well.
    at_terminal: bool,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
            at_terminal: std::io::stdin().is_terminal(),
        })
    }

    /// The next one to pass on.
    async fn next(&mut self) -> Sent {
        let [first, second] = &mut self.user;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Sent::TERM,
                _ = self.hangup.recv() => return Sent::HUP,
                _ = self.interrupt.recv() => if !self.at_terminal { return Sent::INT },
                _ = self.quit.recv() => if !self.at_terminal { return Sent::QUIT },
                _ = first.recv() => return Sent::USR1,
                _ = second.recv() => return Sent::USR2,
            }
        }
    }
}

/// As a shell says it.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The calls of a command that ran. What it has settled by itself stays so.
async fn settle(client: &Client, permit: Permit, status: ExitStatus) {
    let request = ReportRequest {
        permit_id: permit.permit_id,
        calls: permit.calls,
        http_status: if status.success() { 200 } else { 0 },
        ..ReportRequest::default()
    };
    if let Err(status) = client.report(request).await {
        eprintln!("the calls could not be reported, and count as sent and not answered");
        tell(&Fault::from(status));
    }
}

/// The calls of a command that never ran.
async fn give_back(client: &Client, permit: Permit) {
    let request = ReleaseRequest { permit_id: permit.permit_id, unused_calls: None };
    if let Err(status) = client.release(request).await {
        eprintln!("the calls could not be given back, and count as sent");
        tell(&Fault::from(status));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_the_code_that_a_shell_gives_it() {
        // As wait(2) has it: the code in the second byte, a signal in the first.
        for (raw, code) in
            [(0, 0), (7 << 8, 7), (255 << 8, 255), (9, 137), (15, 143), (11 | 128, 139)]
        {
            assert_eq!(code_of(ExitStatus::from_raw(raw)), code, "{raw}");
        }
    }
}
