//! A cluster of the test's own, started by `scripts/cluster`.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread,
};

use harness::{
    poll,
    process::{program, resident_kib},
    signal,
};

/// Instances of every cluster here.
pub const INSTANCES: usize = 3;

/// Lines of each log that a failed test shows.
const SHOWN: usize = 15;

/// Who has the machine: any number of clusters, or one that is alone.
static MACHINE: RwLock<()> = RwLock::new(());

enum Turn {
    BesideOthers(#[expect(dead_code, reason = "held until dropped")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "held until dropped")] RwLockWriteGuard<'static, ()>),
}

/// Runs until it is dropped.
pub struct Cluster {
    child: Child,
    pipes: Mutex<Pipes>,
    folder: PathBuf,
    urls: BTreeMap<String, String>,
    /// Of the parts' processes, as they were started last.
    pids: Mutex<BTreeMap<String, u32>>,
    _turn: Turn,
}

struct Pipes {
    /// Closing it ends the cluster.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Cluster {
    /// Starts one whose instances have these settings.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let turn = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        Self::begin(settings, Turn::BesideOthers(turn))
    }

    /// Starts one beside which no other cluster runs: for tests in which everybody computes.
    pub fn start_alone() -> Self {
        let turn = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        Self::begin(&[], Turn::Alone(turn))
    }

    fn begin(settings: &[(&str, &str)], turn: Turn) -> Self {
        // A shell does not heed a signal that was ignored when it began, as in a background job.
        let mut script = Command::new("env");
        script
            .arg("--default-signal=INT")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/cluster"))
            .arg(INSTANCES.to_string())
            .env("BINARY", program())
            // A test's data need not survive a crash of the machine.
            .env("FAST", "1")
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = script.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (mut folder, mut urls) = (PathBuf::new(), BTreeMap::new());
        let mut pids = BTreeMap::new();
        loop {
            let line = read_line(&mut output);
            match line.split_once('=') {
                None if line == "ready" => break,
                Some(("folder", path)) => folder = path.into(),
                _ => {
                    let (name, url, pid) = part(&line).expect("a part");
                    urls.insert(name.to_owned(), url.to_owned());
                    pids.insert(name.to_owned(), pid);
                }
            }
        }
        let input = child.stdin.take();
        Self {
            child,
            pipes: Mutex::new(Pipes { input, output }),
            folder,
            urls,
            pids: Mutex::new(pids),
            _turn: turn,
        }
    }

    /// Where a part listens.
    pub fn url(&self, part: &str) -> &str {
        &self.urls[part]
    }

    /// Where the instances listen.
    pub fn instances(&self) -> Vec<String> {
        let names = (1..=INSTANCES).map(|number| format!("instance-{number}"));
        names.map(|name| self.urls[&name].clone()).collect()
    }

    /// Has the script run one of its commands, which must succeed, and waits until it has.
    pub fn run(&self, command: &str) {
        let done = tokio::task::block_in_place(|| {
            let mut pipes = self.pipes.lock().unwrap();
            let mut input = pipes.input.as_ref().unwrap();
            input.write_all(format!("{command}\n").as_bytes()).unwrap();
            read_line(&mut pipes.output)
        });
        assert!(!done.starts_with("error"), "{command}: {done}");
        if let Some((name, _, pid)) = part(&done) {
            self.pids.lock().unwrap().insert(name.to_owned(), pid);
        }
    }

    /// How much of the machine's memory a part's process holds, in KiB.
    pub fn memory(&self, part: &str) -> usize {
        resident_kib(self.pids.lock().unwrap()[part])
    }

    /// What holds its parts' data and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every process that works in the folder: the script, its parts and their workers.
    pub fn processes(&self) -> Vec<PathBuf> {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let folder = self.folder.to_str().unwrap();
        let here = all.filter(|process| {
            let works_in = fs::read_link(process.path().join("cwd"));
            // As text: when it is gone, its name goes on with ` (deleted)`.
            works_in.is_ok_and(|works_in| works_in.to_string_lossy().starts_with(folder))
        });
        here.map(|process| process.path()).collect()
    }

    /// Ends it as Ctrl-C does.
    pub fn interrupt(&mut self) -> ExitStatus {
        signal(self.child.id(), "INT");
        poll("the script ends", || self.child.try_wait().unwrap())
    }

    /// What a part has logged so far.
    pub fn log(&self, part: &str) -> String {
        fs::read_to_string(self.folder.join("log").join(part)).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            for part in self.urls.keys().filter(|part| part.as_str() != "lb") {
                let log = self.log(part);
                let lines: Vec<_> = log.lines().rev().take(SHOWN).collect();
                eprintln!("{part} logged last:");
                lines.iter().rev().for_each(|line| eprintln!("    {line}"));
            }
        }
        let pipes = self.pipes.get_mut();
        pipes.unwrap_or_else(PoisonError::into_inner).input.take();
        let _ = self.child.wait();
    }
}

/// `NAME=URL pid=PID`.
fn part(line: &str) -> Option<(&str, &str, u32)> {
    let (name, rest) = line.split_once('=')?;
    let (url, pid) = rest.split_once(" pid=")?;
    Some((name, url, pid.parse().ok()?))
}

fn read_line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    let read = output.read_line(&mut line).unwrap();
    assert_ne!(read, 0, "scripts/cluster ended");
    line.trim_end().to_owned()
}
