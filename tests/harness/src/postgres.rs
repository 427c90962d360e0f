//! Throwaway PostgreSQL servers on free ports, from the machine's `postgresql` package.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{process::kill, wait::poll};

/// Where Debian's package keeps each version's programs.
const DEBIAN: &str = "/usr/lib/postgresql";

/// How long a server may take to start.
const MAX_START: Duration = Duration::from_secs(60);

/// Keeps the server running until this process closes the pipe, even if it is killed. The server
/// must not get the pipe's end itself.
const KEEPER: &str = r#"
    exec 3<&0 </dev/null
    "$@" 3<&- & server=$!
    ( cat <&3 >/dev/null; kill -INT $server ) & keeper=$!
    wait $server; kill $keeper 2>/dev/null
"#;

/// How a test wants its server.
#[derive(Default)]
pub struct Builder {
    settings: Vec<String>,
    access: Option<String>,
    password: Option<String>,
    files: Vec<(String, String)>,
}

impl Builder {
    /// A setting of `postgresql.conf`, such as `ssl=on`.
    pub fn setting(mut self, setting: &str) -> Self {
        self.settings.push(setting.into());
        self
    }

    /// The lines of `pg_hba.conf`, in place of one that trusts everybody on this machine.
    pub fn access(mut self, lines: &str) -> Self {
        self.access = Some(lines.into());
        self
    }

    /// The password of the user `postgres`, kept for SCRAM.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self
    }

    /// A file in the server's data folder that nobody else may read.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.into(), text.into()));
        self
    }

    /// Makes the server and starts it.
    pub fn start(self) -> Postgres {
        let folder = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
        give_away(folder.path());
        let data = folder.path().join("data");
        let mut initdb = program("initdb");
        initdb
            .args(["--username=postgres", "--encoding=UTF8", "--locale=C"])
            .args(["--auth=trust", "--no-sync", "--pgdata"])
            .arg(&data);
        if let Some(password) = &self.password {
            let file = folder.path().join("password");
            fs::write(&file, password).unwrap();
            give_away(&file);
            initdb.arg("--pwfile").arg(&file);
        }
        succeed(&mut initdb);
        for (name, text) in &self.files {
            let file = data.join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            give_away(&file);
        }
        if let Some(access) = &self.access {
            fs::write(data.join("pg_hba.conf"), access).unwrap();
        }
        let mut server = Postgres {
            folder,
            settings: self.settings,
            password: self.password,
            port: free_port(),
            running: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        // Another process may have taken the port meanwhile.
        for _ in 0..5 {
            if server.try_start() {
                return server;
            }
            server.port = free_port();
        }
        panic!("PostgreSQL did not start: {}", server.log());
    }
}

/// A server, stopped and removed when it is dropped.
pub struct Postgres {
    folder: TempDir,
    settings: Vec<String>,
    password: Option<String>,
    port: u16,
    running: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl Postgres {
    /// A server that trusts everybody on this machine: all tests that run at this time share it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::builder().start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// A server to be described.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The server's TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new, empty database; returns its URL.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.create(&name);
        self.url(&name)
    }

    /// Makes an empty database of that name.
    pub fn create(&self, name: &str) {
        // This strategy costs a tenth of the other one, which is for servers that are busy.
        let sql = format!("CREATE DATABASE \"{name}\" STRATEGY file_copy");
        self.query("postgres", &sql);
    }

    /// Removes the database of that name; its sessions are ended.
    pub fn remove(&self, name: &str) {
        self.query(
            "postgres",
            &format!("DROP DATABASE \"{name}\" WITH (FORCE)"),
        );
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// What `sql` answers on the database of that name or URL: a line per row, columns apart by `|`.
    pub fn query(&self, database: &str, sql: &str) -> String {
        succeed(self.psql(database).args(["--command", sql]))
            .trim_end()
            .to_owned()
    }

    /// Runs `sql` in a transaction that stays open, with its locks, until what is returned is
    /// dropped: then it is rolled back.
    pub fn hold(&self, database: &str, sql: &str) -> impl Drop + Send + use<> {
        struct Held(Child);
        impl Drop for Held {
            fn drop(&mut self) {
                drop(self.0.stdin.take());
                let _ = self.0.wait();
            }
        }
        let mut psql = self.psql(database);
        let mut psql = psql
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(psql.stdin.as_mut().unwrap(), "BEGIN; {sql}; \\echo held").unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(psql.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Held(psql)
    }

    /// The client, for the database of that name or URL.
    fn psql(&self, database: &str) -> Command {
        let name = database.rsplit('/').next().unwrap();
        let name = name.split('?').next().unwrap();
        let mut psql = program("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--host=127.0.0.1", "--username=postgres"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--dbname={name}"))
            .arg("--set=ON_ERROR_STOP=1")
            .env("PGPASSWORD", self.password.as_deref().unwrap_or_default());
        psql
    }

    /// A pgbouncer in front of the server, with the given `pool_mode`.
    pub fn pooler(&self, mode: &str) -> Pooler {
        let folder = tempfile::Builder::new().prefix("pgb").tempdir().unwrap();
        let (port, server) = (free_port(), self.port);
        let users = folder.path().join("users");
        fs::write(&users, "\"postgres\" \"\"").unwrap();
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = {mode}\n",
            users.display()
        );
        fs::write(&config, text).unwrap();
        for path in [folder.path(), &users, &config] {
            give_away(path);
        }
        let mut pgbouncer = as_server_user(Path::new("pgbouncer"));
        let process = pgbouncer.arg("--quiet").arg(&config).spawn().unwrap();
        let pooler = Pooler {
            process,
            port,
            _folder: folder,
        };
        poll("pgbouncer listens", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        pooler
    }

    /// Stops the server and ends its sessions.
    pub fn stop(&self) {
        let Some(mut keeper) = self.running.lock().unwrap().take() else {
            return;
        };
        drop(keeper.stdin.take());
        keeper.wait().unwrap();
    }

    /// Starts it again on the same port.
    pub fn start(&self) {
        assert!(self.try_start(), "PostgreSQL did not start: {}", self.log());
    }

    /// Stops the server and all of its sessions where they are, as a hanging machine would, for as
    /// long as what is returned lives.
    pub fn freeze(&self) -> impl Drop + use<> {
        struct Frozen(Vec<u32>);
        impl Drop for Frozen {
            fn drop(&mut self) {
                kill("CONT", &self.0);
            }
        }
        let sessions = self.query("postgres", "SELECT pid FROM pg_stat_activity");
        let server = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let all = server.lines().take(1).chain(sessions.lines());
        let all: Vec<u32> = all.map(|pid| pid.parse().unwrap()).collect();
        // The session that listed them has ended since, so one of them is not there.
        kill("STOP", &all);
        Frozen(all)
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn try_start(&self) -> bool {
        let mut server = as_server_user(Path::new("sh"));
        server.args(["-c", KEEPER, "sh"]).arg(bin("postgres"));
        server.arg("-D").arg(self.data());
        let port = format!("port={}", self.port);
        let always = [
            port.as_str(),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
            "timezone=UTC",
            "shared_buffers=16MB",
            // A test's data need not survive a crash of the machine.
            "fsync=off",
            "full_page_writes=off",
        ];
        for setting in always
            .into_iter()
            .chain(self.settings.iter().map(String::as_str))
        {
            server.args(["-c", setting]);
        }
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut keeper = server
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let began = Instant::now();
        let mut ready = Command::new(bin("pg_isready"));
        ready.args(["--host=127.0.0.1", "--quiet"]);
        ready.arg(format!("--port={}", self.port));
        while began.elapsed() < MAX_START {
            if keeper.try_wait().unwrap().is_some() {
                return false;
            }
            if ready.status().unwrap().success() {
                *self.running.lock().unwrap() = Some(keeper);
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        drop(keeper.stdin.take());
        keeper.wait().unwrap();
        false
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A pgbouncer, killed when it is dropped.
pub struct Pooler {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Pooler {
    /// The same database as that of `url`, through the pooler.
    pub fn url(&self, url: &str) -> String {
        let database = url.rsplit('/').next().unwrap();
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A program of PostgreSQL's, run by a user it accepts.
fn program(name: &str) -> Command {
    as_server_user(&bin(name))
}

/// PostgreSQL refuses to be run by root; Debian's package brings a user for it.
fn as_server_user(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=postgres",
            "--regid=postgres",
            "--init-groups",
            "--",
        ]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    // Neither this process's settings nor a folder that user may not enter.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C").current_dir("/");
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Makes the server's user the owner of `path`.
fn give_away(path: &Path) {
    if is_root() {
        let id = |option| {
            let id = succeed(Command::new("id").args([option, "postgres"]));
            id.trim().parse().unwrap()
        };
        chown(path, Some(id("-u")), Some(id("-g"))).unwrap();
    }
}

/// The newest version's program, or the one in the path.
fn bin(name: &str) -> PathBuf {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    versions
        .filter_map(|version| {
            let number: u32 = version.file_name().to_str()?.parse().ok()?;
            let program = version.path().join("bin").join(name);
            program.is_file().then_some((number, program))
        })
        .max()
        .map_or_else(|| name.into(), |(_, program)| program)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Runs `command`, which must succeed; returns what it printed.
fn succeed(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| {
            panic!("{command:?}: {error}; the tests need Debian's package postgresql")
        });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}
