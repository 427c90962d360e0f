//! What the binary weighs: its size, how fast it listens, and its memory when idle, under a flood of
//! tenants that nobody has heard of, and with as many clients as it lets in that read nothing.

#![expect(clippy::print_stdout, reason = "what is measured is printed")]

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

/// Tenants in each flood: many times `cache.max_entries`.
const FLOOD: usize = 100_000;
const MAX_ENTRIES: &str = "10000";
const BATCH: usize = 20;

/// Clients that read nothing: `server.max_connections`.
const CLIENTS: usize = 10_000;
/// How much each of them sends, in bytes, if it is let.
const SENT: usize = 130_000;
/// What each of them asks for, again and again.
const ASKED_FOR: [&str; 5] = [
    "/nowhere",
    "/docs/swagger-ui-bundle.js",
    "/openapi.json",
    "/metrics",
    "/api/v1/appointments/cache-metrics?limit=1000",
];

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
    for path in ASKED_FOR {
        println!(
            "never read          {:.1} MB resident ({CLIENTS} clients that ask for {path})",
            never_read(folder.path(), path)
        );
    }
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
        .env("MEGASTATS__SERVER__REQUEST_TIMEOUT_SECONDS", "300")
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

/// What is resident once clients that read nothing have sent all that is taken of them, in MB.
fn never_read(folder: &Path, path: &str) -> f64 {
    let (mut service, _) = start(env!("CARGO_BIN_EXE_megastats"), folder);
    // Keys for the page of them.
    flood(&service.address, 0);
    let descriptors = CLIENTS as u64 + 100;
    let allowed = rlimit::increase_nofile_limit(descriptors).expect("a limit");
    assert!(
        allowed >= descriptors,
        "the machine allows {allowed} descriptors"
    );
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let requests = request.repeat(SENT / request.len());
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| (connect_reluctantly(&service.address), requests.as_bytes()))
        .collect();
    let mut last = 0.0;
    loop {
        let written: usize = clients.iter_mut().map(write_some).sum();
        std::thread::sleep(Duration::from_secs(1));
        let now = service.resident();
        if written == 0 && (now - last).abs() < 1.0 {
            service.stop();
            return now;
        }
        last = now;
    }
}

/// A client that lets the kernel keep little for it.
fn connect_reluctantly(address: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a size");
    let address: SocketAddr = address.parse().expect("an address");
    socket.connect(&address.into()).expect("it listens");
    socket.set_nonblocking(true).expect("a socket");
    socket.into()
}

fn write_some((stream, rest): &mut (TcpStream, &[u8])) -> usize {
    match stream.write(rest) {
        Ok(written) => {
            *rest = &rest[written..];
            written
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}
