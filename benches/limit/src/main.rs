//! What a cached answer is measured against: an Actix handler that sends the same bytes and does
//! nothing else. With the URL of a Redis it first looks three keys up in one round trip, as a HIT of
//! the backend `redis` must.
//!
//! `limit PORT ANSWER [REDIS_URL]`: `ANSWER` is a file, a JSON object of `headers` and `body`.

use std::{env, fs, time::Duration};

use actix_web::{
    App, HttpResponse, HttpServer,
    http::header::{HeaderName, HeaderValue},
    web::{self, Bytes},
};
use redis::{Client, IntoConnectionInfo, aio::ConnectionManager, io::tcp::TcpSettings};

/// The path of the statistics, so that a request is as long as one to the service.
const PATH: &str = "/api/v1/appointments/mega-stats";

struct Answer {
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Answer {
    fn read(file: &str) -> Self {
        let text = fs::read(file).expect("the second argument is a file");
        let answer: serde_json::Value = serde_json::from_slice(&text).expect("the file is JSON");
        let headers = answer["headers"]
            .as_object()
            .expect("headers are an object");
        Self {
            headers: headers
                .iter()
                .map(|(name, value)| {
                    let name = name.parse().expect("a header has a name");
                    let value = value.as_str().expect("a header is text");
                    (name, value.parse().expect("a header has a value"))
                })
                .collect(),
            body: Bytes::from(answer["body"].as_str().expect("a body is text").to_owned()),
        }
    }

    fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        for (name, value) in &self.headers {
            response.insert_header((name, value));
        }
        response.body(self.body.clone())
    }
}

async fn send(answer: web::Data<Answer>) -> HttpResponse {
    answer.response()
}

async fn look_up_and_send(
    answer: web::Data<Answer>,
    redis: web::Data<ConnectionManager>,
) -> HttpResponse {
    let mut redis = ConnectionManager::clone(&redis);
    let keys = ["limit:generation", "limit:fence", "limit:entry"];
    let _values: Vec<Option<Vec<u8>>> = redis::cmd("MGET")
        .arg(&keys)
        .query_async(&mut redis)
        .await
        .expect("Redis answers");
    answer.response()
}

async fn connect(url: &str) -> web::Data<ConnectionManager> {
    let info = url
        .into_connection_info()
        .expect("the third argument is a URL");
    let tcp = TcpSettings::default().set_nodelay(true);
    let client = Client::open(info.set_tcp_settings(tcp)).expect("a URL of Redis");
    web::Data::new(
        ConnectionManager::new(client)
            .await
            .expect("Redis is there"),
    )
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (port, file, url) = match arguments.as_slice() {
        [port, file] => (port, file, None),
        [port, file, url] => (port, file, Some(url)),
        _ => panic!("usage: limit PORT ANSWER [REDIS_URL]"),
    };
    let port: u16 = port.parse().expect("the first argument is a port");
    let answer = web::Data::new(Answer::read(file));
    let redis = match url {
        Some(url) => Some(connect(url).await),
        None => None,
    };
    HttpServer::new(move || {
        let app = App::new().app_data(answer.clone());
        match redis.clone() {
            Some(redis) => app
                .app_data(redis)
                .route(PATH, web::get().to(look_up_and_send)),
            None => app.route(PATH, web::get().to(send)),
        }
    })
    .workers(1)
    .tcp_nodelay(true)
    .keep_alive(Duration::from_secs(75))
    .bind(("127.0.0.1", port))?
    .run()
    .await
}
