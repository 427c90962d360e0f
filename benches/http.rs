//! A cached answer beside an empty handler: what the service itself adds to HTTP, without tokens and
//! with one.
//!
//! Both are asked in turns, by the same client over loopback, one worker each, so that the ratios
//! hold on any machine. `one by one` is what a dashboard feels, `in batches` what a core can serve.

#![expect(clippy::print_stdout, reason = "what is measured is printed")]

use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use actix_web::{App, HttpResponse, HttpServer, web};
use jsonwebtoken::{EncodingKey, Header, encode};
use log::LevelFilter;
use megastats::{
    cache,
    clock::SystemClock,
    logging,
    server::{Application, StopSignal},
    settings::{AuthMode, CacheBackend, DatabaseUrl, Secret, Settings},
    tasks::Tasks,
};
use tokio::runtime::Handle;

/// As long as the answer of `/mega-stats`, so that both send as much.
const BODY: &str = r#"{"today":{"confirmed":0,"pending":0},"week":{"confirmed":0,"pending":0},"month":{"confirmed":0,"pending":0},"nextMonth":{"confirmed":0,"pending":0}}"#;
const PATH: &str = "/api/v1/appointments/mega-stats?tenantId=default-tenant&tz=America/Recife";

const ROUNDS: usize = 21;
/// Requests in each round; fewer where each one reads the database.
const REQUESTS: [u32; 5] = [8000, 8000, 8000, 8000, 1000];

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn main() {
    let bare = listening(|tell| async move {
        let empty = || async {
            HttpResponse::Ok()
                .content_type("application/json")
                .insert_header(("cache-control", "no-store"))
                .body(BODY)
        };
        let server = HttpServer::new(move || App::new().default_service(web::to(empty)))
            .workers(1)
            .tcp_nodelay(true)
            // Longer than the others' turns.
            .keep_alive(Duration::from_secs(75))
            .bind("127.0.0.1:0")
            .expect("a free port");
        tell.send(server.addrs()[0]).expect("main waits");
        server.run().await.expect("serves");
    });
    let folder = tempfile::tempdir().expect("a folder");
    let hit = service(&folder, CacheBackend::Memory, AuthMode::None);
    let with_token = service(&folder, CacheBackend::Memory, AuthMode::Jwt);
    let uncached = service(&folder, CacheBackend::None, AuthMode::None);
    let authorization = format!("authorization: Bearer {}\r\n", token());
    let null = File::options().write(true).open("/dev/null");
    let _log = logging::start(&Settings::default().log, null.expect("a machine's"))
        .expect("nobody else logs");
    let levels = [
        LevelFilter::Off,
        LevelFilter::Off,
        LevelFilter::Info,
        LevelFilter::Off,
        LevelFilter::Off,
    ];

    for (name, batch) in [("one by one", 1), ("in batches", 50)] {
        let mut clients = [bare, hit, hit, with_token, uncached]
            .map(|address| Client::connect(address, &authorization, batch));
        let mut times = [const { Vec::new() }; 5];
        for _ in 0..ROUNDS {
            let turns = clients.iter_mut().zip(&mut times).zip(REQUESTS).zip(levels);
            for (((client, times), requests), level) in turns {
                log::set_max_level(level);
                times.push(client.ask(requests));
            }
        }
        let [bare, hit, logged, with_token, uncached] = times.map(median);
        println!("{name}:");
        println!("  empty handler      1.00  ({:.1} µs)", bare * 1e6);
        println!(
            "  HIT                {:.2}  ({:.1} µs)",
            hit / bare,
            hit * 1e6
        );
        println!(
            "  HIT, logged        {:.2}  ({:.1} µs)",
            logged / bare,
            logged * 1e6
        );
        println!(
            "  HIT with a token   {:.2}  ({:.1} µs)",
            with_token / bare,
            with_token * 1e6
        );
        println!(
            "  cache none         {:.2}  ({:.1} µs)",
            uncached / bare,
            uncached * 1e6
        );
    }
}

/// A token that everybody sends, so that all requests are as long.
fn token() -> String {
    let claims = serde_json::json!({ "sub": "ana@clinic.example", "user_id": 7, "type": "access",
                                     "exp": u32::MAX, "tenants": ["default-tenant"] });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), &claims, &key).expect("a token")
}

/// The service on a thread of its own, with one worker.
fn service(folder: &tempfile::TempDir, backend: CacheBackend, auth: AuthMode) -> SocketAddr {
    let mut settings = Settings::default();
    settings.server.port = 0;
    settings.server.workers = 1;
    settings.cache.backend = backend;
    // The same number of digits left in `Cache-Status` from the first answer to the last.
    settings.cache.ttl = Duration::from_secs(3600);
    settings.database.url =
        DatabaseUrl::Sqlite(folder.path().join(format!("{backend:?}{auth:?}.db")));
    settings.auth.mode = auth;
    settings.auth.secret = Secret::new(SECRET).expect("32 bytes");
    listening(|tell| async move {
        let (clock, tasks) = (Arc::new(SystemClock), Tasks::new(Handle::current()));
        let cache = cache::from_settings(&settings.cache, clock.clone(), &tasks).expect("memory");
        let application = Application::build(settings, clock, cache, tasks)
            .await
            .expect("starts");
        tell.send(application.addresses()[0]).expect("main waits");
        application
            .run(StopSignal::default())
            .await
            .expect("serves");
    })
}

/// Runs a server on a runtime of its own; returns the address that it tells.
fn listening<F: Future<Output = ()>>(
    serve: impl FnOnce(mpsc::Sender<SocketAddr>) -> F + Send + 'static,
) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(serve(tell));
    });
    told.recv().expect("the server starts")
}

struct Client {
    stream: TcpStream,
    requests: Vec<u8>,
    batch: u32,
    answers: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr, headers: &str, batch: u32) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let request = format!("GET {PATH} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        let requests = request.repeat(batch as usize).into_bytes();
        let mut client = Self {
            stream,
            requests,
            batch,
            answers: Vec::new(),
        };
        // Twice, since the first answer is computed and may have another length.
        for _ in 0..2 {
            client
                .stream
                .write_all(request.as_bytes())
                .expect("a connection");
            let length = client.read_one();
            client.answers = vec![0; length * batch as usize];
        }
        client
    }

    /// Reads one answer of unknown length; returns its length.
    fn read_one(&mut self) -> usize {
        let mut answer = Vec::new();
        while !answer.ends_with(b"}}") {
            let mut some = [0; 4096];
            let length = self.stream.read(&mut some).expect("an answer");
            assert_ne!(length, 0, "the server hung up");
            answer.extend_from_slice(&some[..length]);
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        answer.len()
    }

    /// The seconds that each of `requests` takes.
    fn ask(&mut self, requests: u32) -> f64 {
        let began = Instant::now();
        for _ in 0..requests / self.batch {
            self.stream.write_all(&self.requests).expect("a connection");
            self.stream
                .read_exact(&mut self.answers)
                .expect("as many answers");
        }
        let took: Duration = began.elapsed();
        took.as_secs_f64() / f64::from(requests)
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
