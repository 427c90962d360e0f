//! Throwaway Redis servers on free ports, from the machine's `redis-server` package.

use std::{
    fs::File,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use crate::process::signal;

/// A Redis server, killed when it is dropped.
pub struct Server {
    process: Child,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
    options: Vec<String>,
    folder: tempfile::TempDir,
}

impl Server {
    /// A server that no test stops or empties: all tests that run at this time share it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Starts an empty server.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts an empty server with command-line options.
    pub fn start_with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, options)
    }

    /// As [`Server::start_with`], in a folder that may hold files that the options name.
    pub fn start_in(folder: tempfile::TempDir, options: &[&str]) -> Self {
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        loop {
            let port = free_port();
            // Another process may have taken the port meanwhile.
            if let Some(process) = spawn(port, &options, folder.path()) {
                return Self {
                    process,
                    port,
                    options,
                    folder,
                };
            }
        }
    }

    /// Its first database.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The folder in which it works.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops the process where it is (`SIGSTOP`): it keeps its connections and answers nothing.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// Lets a stopped process go on (`SIGCONT`).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    /// Kills the process as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again after [`Server::kill`], on the same port.
    pub fn restart(&mut self) {
        self.process =
            spawn(self.port, &self.options, self.folder.path()).expect("its port is free");
    }

    /// Runs a command on a connection of its own, and returns the answer.
    pub fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(("127.0.0.1", self.port)).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut words = redis::Cmd::new();
        for word in command {
            words.arg(word);
        }
        words.query(&mut connection).unwrap()
    }

    /// Remembers what it is sent from now on.
    pub fn record(&self) {
        self.run::<()>(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
        self.run::<()>(&["CONFIG", "SET", "slowlog-max-len", "100000"]);
        self.run::<()>(&["SLOWLOG", "RESET"]);
    }

    /// The commands about `tenant` that it was sent since then, oldest first.
    pub fn recorded(&self, tenant: &str) -> Vec<String> {
        let key = format!("{{{tenant}}}");
        let log: Vec<redis::Value> = self.run(&["SLOWLOG", "GET", "-1"]);
        let mut commands = Vec::new();
        for logged in log.into_iter().rev() {
            let redis::Value::Array(fields) = logged else {
                panic!("no command: {logged:?}");
            };
            let words: Vec<Vec<u8>> = redis::from_redis_value(fields[3].clone()).unwrap();
            let words: Vec<_> = words
                .iter()
                .map(|word| String::from_utf8_lossy(word))
                .collect();
            let address: String = redis::from_redis_value(fields[4].clone()).unwrap();
            // What a script runs has no client.
            if address.starts_with("127.") && words.iter().any(|word| word.contains(&key)) {
                commands.push(words[0].clone().into_owned());
            }
        }
        commands
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that is free, and whose cluster bus port may be.
pub fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bus = port.checked_add(10_000);
        if bus.is_some_and(|bus| TcpListener::bind(("127.0.0.1", bus)).is_ok()) {
            return port;
        }
    }
}

/// Starts a server and waits until it accepts connections; `None` if it ends before.
fn spawn(port: u16, options: &[String], folder: &Path) -> Option<Child> {
    let log = folder.join("log");
    let mut process = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .args(options)
        .stdout(File::create(&log).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    loop {
        let logged = std::fs::read_to_string(&log).unwrap_or_default();
        if logged.contains("Ready to accept connections") {
            return Some(process);
        }
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
