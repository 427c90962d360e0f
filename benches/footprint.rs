//! What the binary weighs: its size, how fast it listens, and its memory when idle and under a
//! flood of tenants that nobody has heard of.

#![expect(clippy::print_stdout, reason = "what is measured is printed")]

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Tenants in each flood: many times `cache.max_entries`.
const FLOOD: usize = 100_000;
const MAX_ENTRIES: &str = "10000";
const BATCH: usize = 20;

fn main() {
    let binary = env!("CARGO_BIN_EXE_megastats");
    println!(
        "binary              {:.1} MB",
        megabytes(fs::metadata(binary).expect("built").len())
    );

    let folder = tempfile::tempdir().expect("a folder");
    let (mut fresh, took) = start(binary, folder.path());
    println!("listens, new file   {} ms", took.as_millis());
    fresh.stop();
    let mut restarts: Vec<_> = (0..9)
        .map(|_| {
            let (mut service, took) = start(binary, folder.path());
            service.stop();
            took
        })
        .collect();
    restarts.sort();
    println!(
        "listens, old file   {} ms (median of 9)",
        restarts[4].as_millis()
    );

    let (mut service, _) = start(binary, folder.path());
    println!("idle                {:.1} MB resident", service.resident());
    for round in 1..=3 {
        flood(&service.address, round);
        println!(
            "after flood {round}       {:.1} MB resident ({FLOOD} tenants each, max_entries {MAX_ENTRIES})",
            service.resident()
        );
    }
    service.stop();
}

#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

struct Service {
    child: Child,
    address: String,
}

/// Starts the service in `folder`; returns it and the time until it said that it listens.
fn start(binary: &str, folder: &Path) -> (Service, Duration) {
    let began = Instant::now();
    let mut child = Command::new(binary)
        .current_dir(folder)
        .env("MEGASTATS__SERVER__PORT", "0")
        .env("MEGASTATS__CACHE__MAX_ENTRIES", MAX_ENTRIES)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert_ne!(
            log.read_line(&mut line).expect("text"),
            0,
            "it did not start"
        );
        if let Some((_, rest)) = line.split_once("listening on http://") {
            break rest
                .split_whitespace()
                .next()
                .expect("an address")
                .to_owned();
        }
    };
    let took = began.elapsed();
    std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
    (Service { child, address }, took)
}

impl Service {
    /// In MB.
    fn resident(&self) -> f64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("it runs on Linux");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("a process");
        let kilobytes = line
            .split_whitespace()
            .nth(1)
            .and_then(|number| number.parse().ok());
        megabytes(1024 * kilobytes.unwrap_or(0u64))
    }

    fn stop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started here");
    }
}

/// Asks for the statistics of tenants that `round` makes up.
fn flood(address: &str, round: usize) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    let mut answers = BufReader::new(stream.try_clone().expect("a socket"));
    for batch in 0..FLOOD / BATCH {
        let mut requests = String::new();
        for n in 0..BATCH {
            write!(
                requests,
                "GET /api/v1/appointments/mega-stats?tenantId=flood-{round}-{batch}-{n} \
                 HTTP/1.1\r\nhost: localhost\r\n\r\n"
            )
            .expect("a String takes whatever is written to it");
        }
        stream.write_all(requests.as_bytes()).expect("a connection");
        for _ in 0..BATCH {
            read_answer(&mut answers);
        }
    }
}

fn read_answer(answers: &mut impl BufRead) {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(
            answers.read_line(&mut line).expect("text"),
            0,
            "the service hung up"
        );
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().expect("a number");
        }
        if line == "\r\n" {
            break;
        }
    }
    answers
        .read_exact(&mut vec![0; length])
        .expect("the whole body");
}
