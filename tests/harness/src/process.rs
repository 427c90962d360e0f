//! The program itself, as a process that can be signalled and killed.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use super::{folder, poll};

/// The state of a listening socket in the table of the kernel.
const LISTEN: &str = "0A";

/// A running `megastats`, killed when it is dropped.
pub struct Process {
    child: Child,
    url: String,
    /// What it has logged so far.
    log: Arc<Mutex<String>>,
    log_reader: Option<JoinHandle<()>>,
}

/// The program, which Cargo builds before the tests and puts into the folder above theirs.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    profile.join("megastats")
}

/// The program, run in the folder `within` and without this process's settings.
pub fn command(within: &Path) -> Command {
    let mut command = Command::new(program());
    command.current_dir(within).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MEGASTATS") {
            command.env_remove(name);
        }
    }
    command.envs(folder::environment(within));
    command
}

/// Runs `command` to its end, which must come by itself.
pub fn run(command: &mut Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let mut process = Process {
        child,
        url: String::new(),
        log: Arc::default(),
        log_reader: None,
    };
    let status = process.ended();
    let mut bytes = Vec::new();
    stderr.read_to_end(&mut bytes).unwrap();
    Output {
        status,
        stdout: read.join().unwrap(),
        stderr: bytes,
    }
}

/// Sends a signal by its name, e.g. `TERM`.
pub fn signal(process: u32, name: &str) {
    assert!(kill(name, &[process]), "no process {process}");
}

/// Sends a signal to each of `processes`; false if one of them is not there.
pub(crate) fn kill(name: &str, processes: &[u32]) -> bool {
    // The shell's own `kill`: a bare machine may have no other.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"kill -s "$@""#, "sh", name]);
    shell.args(processes.iter().map(u32::to_string));
    shell.stderr(Stdio::null()).status().unwrap().success()
}

/// The memory that a process has, in KiB.
pub fn resident_kib(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse().unwrap()
}

impl Process {
    /// Starts `megastats` in `folder` on a free port, and waits until it listens.
    pub fn start(folder: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_with(folder, &[], environment)
    }

    /// As [`Process::start`], with a command line.
    pub fn start_with(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command(folder);
        command.args(arguments);
        Self::start_command(command, environment)
    }

    /// As [`Process::start`], with another command.
    pub fn start_command(mut command: Command, environment: &[(&str, &str)]) -> Self {
        let mut child = command
            .env("MEGASTATS__SERVER__PORT", "0")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        let url = loop {
            let from = seen.len();
            assert_ne!(
                stderr.read_line(&mut seen).unwrap(),
                0,
                "it did not start: {seen}"
            );
            if let Some((_, rest)) = seen[from..].split_once("listening on ") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        let log = Arc::new(Mutex::new(seen));
        let read = Arc::clone(&log);
        // Read on, or the process would block once the pipe is full.
        let log_reader = std::thread::spawn(move || {
            for line in stderr.lines() {
                *read.lock().unwrap() += &(line.unwrap() + "\n");
            }
        });
        Self {
            child,
            url,
            log,
            log_reader: Some(log_reader),
        }
    }

    /// `http://host:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a signal by its name, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until it refuses new connections.
    pub fn stops_listening(&self) {
        poll("new connections are refused", || {
            (!self.is_listening()).then_some(())
        });
    }

    /// Whether it listens on the port of its URL. Once it has closed that, another process may listen
    /// there, so that a connection proves nothing.
    pub fn is_listening(&self) -> bool {
        let (_, port) = self.url.rsplit_once(':').unwrap();
        let port = format!(":{:04X}", port.parse::<u16>().unwrap());
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let listening: Vec<_> = sockets
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|fields| fields[1].ends_with(&port) && fields[3] == LISTEN)
            .map(|fields| PathBuf::from(format!("socket:[{}]", fields[9])))
            .collect();
        // A process that has ended has no files.
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        files.into_iter().flatten().any(|file| {
            let target = file.and_then(|file| std::fs::read_link(file.path()));
            target.is_ok_and(|target| listening.contains(&target))
        })
    }

    /// The memory that it has, in KiB.
    pub fn resident_kib(&self) -> usize {
        resident_kib(self.child.id())
    }

    /// Waits until the process has ended; returns how, and all it logged.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = self.ended();
        self.log_reader.take().unwrap().join().unwrap();
        (status, std::mem::take(&mut *self.log.lock().unwrap()))
    }

    /// Waits until the process has logged `text`.
    pub fn has_logged(&self, text: &str) {
        poll(text, || {
            self.log.lock().unwrap().contains(text).then_some(())
        });
    }

    /// Whether the process has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn ended(&mut self) -> ExitStatus {
        poll("the process ends", || self.child.try_wait().unwrap())
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
