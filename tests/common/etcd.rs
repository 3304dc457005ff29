//! Real etcd for tests: one member or several, on free ports of the loopback
//! interface, with everything that may happen to them.
//!
//! ```ignore
//! let Some(mut etcd) = Etcd::start(3, Which::Any) else { return };
//! etcd.kill9(0);
//! ```
#![allow(dead_code, reason = "each binary of tests uses a part")]

use std::{
    env,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Which of the installed versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that the environment names, else the current one, else the
    /// system's.
    Any,
    /// The current one, which `./x tools` puts into `.tools/`.
    Current,
    /// The system's, which is old: `etcd` on the PATH, or its package's in
    /// `.tools/`.
    Packaged,
}

/// A cluster of etcd. Its members are killed when it is dropped, each by its
/// process id.
pub struct Etcd {
    members: Vec<Member>,
    certificates: Option<Certificates>,
    /// Removed at the end.
    _home: TempDir,
}

/// The files of a cluster that speaks TLS (PEM).
pub struct Certificates {
    /// Of the authority that has signed all certificates.
    pub ca: PathBuf,
    /// The one that members show, and that callers may show, too.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Removed at the end.
    _home: TempDir,
}

struct Member {
    /// All that starts it.
    program: PathBuf,
    arguments: Vec<String>,
    client: SocketAddr,
    /// Answers for its health, always without TLS.
    figures: SocketAddr,
    dir: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

/// Ports that were free may be taken by somebody else meanwhile.
const ATTEMPTS: usize = 5;

/// A cluster that does not answer by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

impl Which {
    /// The program, if it is installed.
    pub fn program(self) -> Option<PathBuf> {
        match self {
            Self::Any => env::var_os("QUOTAGATE_ETCD")
                .map(PathBuf::from)
                .or_else(|| Self::Current.program())
                .or_else(|| Self::Packaged.program()),
            Self::Current => {
                let folders = fs::read_dir(tools()).ok()?.flatten();
                let named = folders
                    .filter(|folder| folder.file_name().to_string_lossy().starts_with("etcd-"))
                    .map(|folder| folder.path().join("etcd"));
                named.filter(|program| program.is_file()).max()
            }
            Self::Packaged => env::split_paths(&env::var_os("PATH").unwrap_or_default())
                .map(|folder| folder.join("etcd"))
                .chain([tools().join("packaged/etcd")])
                .find(|program| program.is_file()),
        }
    }
}

impl Etcd {
    /// Starts a cluster; every member serves when this returns. Where there is
    /// no such etcd the test is to end: that is said on stderr, and is a failure
    /// where CI=true.
    pub fn start(members: usize, which: Which) -> Option<Self> {
        Self::start_with(members, which, &[])
    }

    /// The same with more options of etcd's command line.
    pub fn start_with(members: usize, which: Which, options: &[&str]) -> Option<Self> {
        Self::start_as("http", members, which, options)
    }

    /// Starts a cluster that speaks TLS, with those who show a certificate only.
    pub fn start_tls(members: usize, which: Which) -> Option<Self> {
        let Some(certificates) = Certificates::make() else {
            return skip("there is no openssl, which makes certificates");
        };
        let text = |path: &Path| path.display().to_string();
        let (ca, cert, key) =
            (text(&certificates.ca), text(&certificates.cert), text(&certificates.key));
        let shown = ["--cert-file", &cert, "--key-file", &key];
        let asked = ["--client-cert-auth", "--trusted-ca-file", &ca];
        let options = [shown.as_slice(), &asked].concat();
        let etcd = Self::start_as("https", members, which, &options)?;
        Some(Self { certificates: Some(certificates), ..etcd })
    }

    fn start_as(scheme: &str, members: usize, which: Which, options: &[&str]) -> Option<Self> {
        let Some(program) = which.program() else {
            return skip(&format!("there is no etcd ({which:?}); `./x tools` installs it"));
        };
        for _ in 1..ATTEMPTS {
            if let Ok(etcd) = Self::try_start(scheme, members, &program, options) {
                return Some(etcd);
            }
        }
        let last = Self::try_start(scheme, members, &program, options);
        Some(last.unwrap_or_else(|log| panic!("{} does not start:\n{log}", program.display())))
    }

    fn try_start(
        scheme: &str,
        members: usize,
        program: &Path,
        options: &[&str],
    ) -> Result<Self, String> {
        let home = home();
        let ports = free_ports(3 * members);
        let (clients, ports) = ports.split_at(members);
        let (peers, figures) = ports.split_at(members);
        let cluster: Vec<_> =
            peers.iter().enumerate().map(|(at, peer)| format!("m{at}=http://{peer}")).collect();
        let fsync = is_known(program, "unsafe-no-fsync").then_some("--unsafe-no-fsync");
        let mut etcd = Self { members: Vec::new(), certificates: None, _home: home };
        for (at, ((client, peer), figures)) in clients.iter().zip(peers).zip(figures).enumerate() {
            let dir = etcd._home.path().join(format!("m{at}"));
            let mut arguments: Vec<String> = [
                ("--name", format!("m{at}")),
                ("--data-dir", dir.display().to_string()),
                ("--listen-client-urls", format!("{scheme}://{client}")),
                ("--advertise-client-urls", format!("{scheme}://{client}")),
                ("--listen-metrics-urls", format!("http://{figures}")),
                ("--listen-peer-urls", format!("http://{peer}")),
                ("--initial-advertise-peer-urls", format!("http://{peer}")),
                ("--initial-cluster", cluster.join(",")),
                ("--logger", "zap".to_owned()),
            ]
            .into_iter()
            .flat_map(|(option, value)| [option.to_owned(), value])
            .collect();
            arguments.extend(fsync.into_iter().chain(options.iter().copied()).map(str::to_owned));
            etcd.members.push(Member {
                program: program.to_owned(),
                arguments,
                client: *client,
                figures: *figures,
                log: etcd._home.path().join(format!("m{at}.log")),
                dir,
                child: None,
            });
        }
        for member in &mut etcd.members {
            member.start();
        }
        // A member answers when there is a leader, so all must run by now.
        for member in &mut etcd.members {
            member.answers()?;
        }
        Ok(etcd)
    }

    /// Where the members take clients: `127.0.0.1:PORT` each.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client.to_string()).collect()
    }

    /// A value of `--store`, with this prefix of keys.
    pub fn store_address(&self, prefix: &str) -> String {
        format!("etcd://{}/{prefix}", self.endpoints().join(","))
    }

    /// The files of a cluster that speaks TLS.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("it speaks TLS")
    }

    /// What every member holds, as an operator saves it; `None` where the program for
    /// that is not installed, which has been said then.
    pub fn save(&self) -> Option<PathBuf> {
        let snapshot = self._home.path().join("snapshot.db");
        let endpoint = self.endpoints().remove(0);
        let path = snapshot.display().to_string();
        let mut command = operators("etcdctl")?;
        run(command.args(["--endpoints", &endpoint, "snapshot", "save", &path]));
        Some(snapshot)
    }

    /// Every member begins anew with what was saved, as an operator does it; `options`
    /// are more of `etcdutl snapshot restore`.
    pub fn restore(&mut self, snapshot: &Path, options: &[&str]) -> Option<()> {
        for member in 0..self.members.len() {
            self.kill9(member);
            self.wipe(member);
            let mut command = operators("etcdutl")?;
            command.args(["snapshot", "restore"]).arg(snapshot).args(options);
            let shared =
                ["--name", "--data-dir", "--initial-cluster", "--initial-advertise-peer-urls"];
            for pair in self.members[member].arguments.chunks(2) {
                if shared.contains(&pair[0].as_str()) {
                    command.args(pair);
                }
            }
            run(&mut command);
        }
        for member in 0..self.members.len() {
            self.start_again(member);
        }
        for member in 0..self.members.len() {
            self.is_served_by(member);
        }
        Some(())
    }

    /// Where each member keeps its data.
    pub fn data_dirs(&self) -> Vec<PathBuf> {
        self.members.iter().map(|member| member.dir.clone()).collect()
    }

    /// What a member has logged.
    pub fn log(&self, member: usize) -> String {
        self.members[member].logged()
    }

    /// The member that leads, if there is one. It asks the members that run and
    /// are not paused for their figures.
    pub fn leader(&self) -> Option<usize> {
        self.members.iter().position(|member| {
            member.child.is_some()
                && get(member.figures, "/metrics").is_some_and(|figures| {
                    figures.lines().any(|line| line == "etcd_server_is_leader 1")
                })
        })
    }

    /// SIGKILL. The data stays.
    pub fn kill9(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// SIGSTOP.
    pub fn pause(&self, member: usize) {
        self.members[member].signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self, member: usize) {
        self.members[member].signal("CONT");
    }

    /// Starts a member again that was killed; it serves when this returns,
    /// which needs a quorum.
    pub fn restart(&mut self, member: usize) {
        self.start_again(member);
        self.is_served_by(member);
    }

    /// Starts a member again and does not wait.
    pub fn start_again(&mut self, member: usize) {
        self.members[member].kill();
        self.members[member].start();
    }

    /// Waits until a member answers.
    pub fn is_served_by(&mut self, member: usize) {
        let answers = self.members[member].answers();
        answers.unwrap_or_else(|log| panic!("the member does not serve:\n{log}"));
    }

    /// Forgets what a member has stored; it must be killed.
    pub fn wipe(&mut self, member: usize) {
        let member = &self.members[member];
        assert!(member.child.is_none(), "it runs");
        fs::remove_dir_all(&member.dir).expect("it has data");
    }
}

impl Member {
    fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log");
        let child = Command::new(&self.program)
            .args(&self.arguments)
            // Settings of etcd's own in the environment are not for this one.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("etcd runs"));
    }

    /// Waits until it takes part in a cluster with a leader.
    #[expect(
        clippy::disallowed_methods,
        reason = "another process is waited for, with or without a runtime"
    )]
    fn answers(&mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            if get(self.figures, "/health").is_some_and(|told| told.contains(r#""health":"true""#))
            {
                return Ok(());
            }
            let child = self.child.as_mut().expect("it was started");
            let ended = child.try_wait().expect("it is our child").is_some();
            if ended || start.elapsed() > PATIENCE {
                return Err(self.logged());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id();
        let command = format!("kill -{name} {pid}");
        let sent = Command::new("sh").args(["-c", &command]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{command}");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Certificates {
    /// An authority and a certificate of 127.0.0.1; `None` without openssl.
    fn make() -> Option<Self> {
        const KEY: [&str; 5] =
            ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let home = tempfile::tempdir().expect("a place for temporary files");
        let openssl = |arguments: &[&str]| {
            let done = Command::new("openssl").args(arguments).current_dir(&home).output().ok()?;
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            Some(())
        };
        let uses = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n";
        fs::write(home.path().join("uses"), uses).expect("it is writable");
        let req = |rest: &[&str]| openssl(&[&["req"], KEY.as_slice(), rest].concat());
        req(&["-x509", "-subj", "/CN=ca", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"])?;
        req(&["-subj", "/CN=etcd", "-keyout", "key.pem", "-out", "request.pem"])?;
        openssl(
            &[
                ["x509", "-req", "-days", "2", "-in", "request.pem", "-out", "cert.pem"].as_slice(),
                &["-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "1", "-extfile", "uses"],
            ]
            .concat(),
        )?;
        let file = |name| home.path().join(name);
        Some(Self { ca: file("ca.pem"), cert: file("cert.pem"), key: file("key.pem"), _home: home })
    }
}

/// A test that cannot be made here: that is said on stderr, and is a failure
/// where CI=true.
fn skip<T>(reason: &str) -> Option<T> {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    assert!(env::var("CI").as_deref() != Ok("true"), "{test}: {reason}");
    // Not by a macro: those are captured, and shown for failures only.
    let _ = writeln!(io::stderr(), "SKIPPED: {test}: {reason}");
    None
}

/// Where `./x tools` puts what it installs.
/// One of the programs that operators use, which `./x tools` puts beside etcd.
fn operators(name: &str) -> Option<Command> {
    let program = Which::Current.program().map(|etcd| etcd.with_file_name(name));
    match program.filter(|program| program.is_file()) {
        Some(program) => Some(Command::new(program)),
        None => skip(&format!("there is no {name}; `./x tools` installs it")),
    }
}

fn run(command: &mut Command) {
    let output = command.env_clear().output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools")
}

/// A directory in memory, where there is one: etcd waits for its disk.
fn home() -> TempDir {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("quotagate-etcd-");
    let home = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
    home.or_else(|_| builder.tempdir()).expect("a place for temporary files")
}

/// Ports of the loopback interface that are free now.
fn free_ports(count: usize) -> Vec<SocketAddr> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    // All are held until the last is known: none comes twice.
    let held: Vec<_> = (0..count).map(bind).collect();
    held.iter().map(|listener| listener.local_addr().expect("it is bound")).collect()
}

/// Does this version know the option?
fn is_known(program: &Path, option: &str) -> bool {
    let help = Command::new(program).arg("--help").env_clear().output().expect("etcd runs");
    [help.stdout, help.stderr].iter().any(|text| String::from_utf8_lossy(text).contains(option))
}

/// The body of an answer over HTTP; `None` if there is none soon.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}
