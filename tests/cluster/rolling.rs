//! Instances that are replaced one after another, as an upgrade does, while everybody goes on
//! reading and writing by the one address: nobody may notice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use harness::{PREFIX, Reply, TODAY, eventually};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, INSTANCES};

const WRITERS: usize = 12;
const READERS: usize = 6;

/// Answers between one stop and the next.
const BETWEEN: usize = 300;

/// Clients who ask as fast as they are answered.
struct Crowd {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    running: Vec<JoinHandle<usize>>,
}

impl Crowd {
    fn new() -> Self {
        Self {
            over: Arc::default(),
            answered: Arc::default(),
            running: Vec::new(),
        }
    }

    /// Adds one who repeats `request`, which must be answered with `expected` every time.
    fn join(&mut self, request: RequestBuilder, expected: StatusCode) {
        let (over, answered) = (Arc::clone(&self.over), Arc::clone(&self.answered));
        self.running.push(tokio::spawn(async move {
            let mut times = 0;
            while !over.load(SeqCst) {
                let response = request.try_clone().unwrap().send().await;
                let response = response.unwrap_or_else(|error| panic!("no answer: {error:?}"));
                assert_eq!(response.status(), expected, "{response:?}");
                response.bytes().await.unwrap();
                answered.fetch_add(1, SeqCst);
                times += 1;
            }
            times
        }));
    }

    async fn answers(&self, times: usize) {
        let enough = self.answered.load(SeqCst) + times;
        eventually("answers", async || {
            let has_failed = self.running.iter().any(JoinHandle::is_finished);
            has_failed || self.answered.load(SeqCst) >= enough
        })
        .await;
    }

    /// How often each was answered.
    async fn leave(self) -> Vec<usize> {
        self.over.store(true, SeqCst);
        let mut times = Vec::new();
        for client in self.running {
            times.push(client.await.unwrap());
        }
        times
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_replaced_one_after_another_and_no_request_fails() {
    for delay in ["0", "1"] {
        let cluster = Cluster::start(&[("MEGASTATS__SERVER__DRAIN_DELAY_SECONDS", delay)]);
        let list = format!("{}{PREFIX}", cluster.url("lb"));
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let mut crowd = Crowd::new();
        let body = json!({
            "tenantId": "clinic", "patientId": 1, "startsAt": TODAY, "durationMin": 30,
        });
        for _ in 0..WRITERS {
            crowd.join(http.post(&list).json(&body), StatusCode::CREATED);
        }
        for _ in 0..READERS {
            let stats = format!("{list}/mega-stats?tenantId=clinic");
            crowd.join(http.get(stats), StatusCode::OK);
        }
        for round in 0..2 * INSTANCES {
            crowd.answers(BETWEEN).await;
            let name = format!("instance-{}", round % INSTANCES + 1);
            cluster.run(&format!("stop {name}"));
            crowd.answers(BETWEEN).await;
            cluster.run(&format!("start {name}"));
        }
        crowd.answers(BETWEEN).await;
        let times = crowd.leave().await;
        let written: usize = times[..WRITERS].iter().sum();
        // Nothing was sent twice.
        let all = Reply::to(http.get(format!("{list}?tenantId=clinic&page_size=1"))).await;
        assert_eq!(all.json()["total"], written, "{all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_instances_are_ready() {
    let cluster = Cluster::start(&[]);
    cluster.run("kill redis");
    for url in cluster.instances() {
        let reply = Reply::to(reqwest::Client::new().get(format!("{url}/readyz"))).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    }
    cluster.run("start redis");
    let name = "instance-1";
    cluster.run(&format!("stop {name}"));
    cluster.run("kill redis");
    // It starts without, too: the script waits until it is ready.
    cluster.run(&format!("start {name}"));
}
