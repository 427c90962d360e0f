//! Instances whose links to Redis or to PostgreSQL fail while another instance has both: no answer of any
//! instance is stale, and writes are not slow.

use std::time::{Duration, Instant};

use harness::{Exposition, PREFIX, Reply, eventually};
use rand::{RngExt, seq::IndexedRandom};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::json;

use crate::{
    calendar::Calendar,
    checker::Checker,
    cluster::{Cluster, INSTANCES},
    proxy::{Proxy, ProxyState},
    soak::soaking,
};

/// Hits of each tenant before and after a fault, and writes during one.
const HITS: usize = 20;
const WRITES: usize = 12;

/// Hits of each tenant between two of many faults.
const HITS_BETWEEN: usize = 4;

/// How often each fault happens at least.
const ROUNDS: usize = 2;

/// The longest fault, and how long one lasts at most in a short run.
const LONGEST: f64 = 30.0;
const SHORT: f64 = 2.0;

/// How long one instance is cut off while others are measured, unless the run is a short one.
const CUT_OFF: Duration = Duration::from_secs(60);

/// Writes of each instance that are measured at least.
const MEASURED: usize = 10;

const DELIVERED: &str = "megastats_relay_delivered_invalidations_total";
const WAITING: &str = "megastats_relay_waiting_invalidations";

const FAULTS: [ProxyState; 8] = [
    ProxyState::CUT,
    ProxyState {
        holds_requests: true,
        ..ProxyState::WHOLE
    },
    ProxyState {
        holds_answers: true,
        ..ProxyState::WHOLE
    },
    // Half-open.
    ProxyState {
        holds_requests: true,
        holds_answers: true,
        ..ProxyState::WHOLE
    },
    slow(80),
    slow(210),
    slow(300),
    slow(800),
];

/// A round trip takes so long.
const fn slow(milliseconds: u64) -> ProxyState {
    ProxyState {
        delay: Duration::from_millis(milliseconds / 2),
        ..ProxyState::WHOLE
    }
}

/// What an instance is connected by.
struct Links {
    redis: Proxy,
    postgres: Proxy,
}

impl Links {
    /// Starts `instance` again, with a proxy before Redis and one before PostgreSQL.
    fn of(cluster: &Cluster, instance: &str) -> Self {
        let links = Self {
            redis: Proxy::before(cluster.url("redis")),
            postgres: Proxy::before(cluster.url("postgres")),
        };
        cluster.run(&format!("stop {instance}"));
        cluster.run(&format!(
            "start {instance} MEGASTATS__CACHE__REDIS__URL={} MEGASTATS__DATABASE__URL={}",
            links.redis.url(),
            links.postgres.url()
        ));
        links
    }
}

/// The sum of a series over the instances.
async fn sum(cluster: &Cluster, series: &str) -> f64 {
    let mut sum = 0.0;
    for instance in cluster.instances() {
        sum += Exposition::of(&instance).await.value(series);
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_stale_while_links_of_two_instances_fail_one_or_two_at_a_time() {
    let cluster = Cluster::start(&[]);
    let (second, third) = (
        Links::of(&cluster, "instance-2"),
        Links::of(&cluster, "instance-3"),
    );
    let links = [
        ("Redis of 3", &third.redis),
        ("PostgreSQL of 2", &second.postgres),
        ("Redis of 2", &second.redis),
        ("PostgreSQL of 3", &third.postgres),
    ];
    let checker = Checker::begin(&cluster).await;
    checker.hits(HITS).await;
    let (began, soaking) = (Instant::now(), soaking());
    let longest = if soaking.is_zero() { SHORT } else { LONGEST };
    for turn in 0.. {
        let round = turn / FAULTS.len();
        if round >= ROUNDS && began.elapsed() >= soaking {
            break;
        }
        let mut failing = vec![(links[round % links.len()], FAULTS[turn % FAULTS.len()])];
        // Shorter ones are more frequent.
        let seconds = 0.3 * (longest / 0.3_f64).powf(rand::random());
        let is_reset = {
            let mut rng = rand::rng();
            if rng.random() {
                let other = rng.random_range(1..links.len());
                let fault = *FAULTS.choose(&mut rng).unwrap();
                failing.push((links[(round + other) % links.len()], fault));
            }
            rng.random()
        };
        for ((name, link), fault) in &failing {
            println!(
                "{:.0?} {name}: {fault:?} for {seconds:.1} s",
                began.elapsed()
            );
            link.set(*fault);
        }
        // The length of the fault is what is tested.
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        for ((_, link), _) in &failing {
            if is_reset {
                // What was held is lost.
                link.set(ProxyState::CUT);
            }
            link.set(ProxyState::WHOLE);
        }
        checker.hits(HITS_BETWEEN).await;
    }
    let tally = checker.end(5).await;
    println!("{:.0?}: {tally:?}", began.elapsed());
    let nothing_waits = async || sum(&cluster, WAITING).await == 0.0;
    eventually("nothing waits", nothing_waits).await;
}

/// The median and the longest of `times`.
pub fn summary(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    format!("median {median:?}, longest {longest:?} of {}", times.len())
}

/// How long reads and writes of one instance took.
#[derive(Default)]
struct Latencies {
    reads: Vec<Duration>,
    writes: Vec<Duration>,
}

/// Writes to each instance in turn and reads from all, for `time` and [`MEASURED`] turns at least; each
/// answer must count every write. `written` is how many there were.
async fn measure(cluster: &Cluster, written: &mut i64, time: Duration) -> Vec<Latencies> {
    let (client, calendar) = (Client::new(), Calendar::now());
    let appointment = json!({
        "tenantId": "clinic", "patientId": 1, "startsAt": calendar.today, "durationMin": 30,
    });
    let query = format!("tenantId=clinic&tz={}", calendar.zones[0]);
    let timed = async |times: &mut Vec<Duration>, request: RequestBuilder| {
        let began = Instant::now();
        let reply = Reply::to(request).await;
        times.push(began.elapsed());
        reply
    };
    let instances = cluster.instances();
    let mut latencies: Vec<Latencies> = Vec::new();
    latencies.resize_with(INSTANCES, Latencies::default);
    let began = Instant::now();
    for turn in 0.. {
        if turn >= MEASURED && began.elapsed() >= time {
            break;
        }
        for writer in 0..INSTANCES {
            let write = client.post(format!("{}{PREFIX}", instances[writer]));
            let reply = timed(&mut latencies[writer].writes, write.json(&appointment)).await;
            assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
            *written += 1;
            for (reader, instance) in instances.iter().enumerate() {
                let read = client.get(format!("{instance}{PREFIX}/mega-stats?{query}"));
                let reply = timed(&mut latencies[reader].reads, read).await;
                assert_eq!(reply.today().1, *written, "{reply:?}");
            }
        }
    }
    latencies
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_an_instance_cut_off_from_redis_are_acknowledged_and_counted_by_all() {
    let cluster = Cluster::start(&[]);
    let links = Links::of(&cluster, "instance-3");
    let time = soaking().min(CUT_OFF);
    let mut written = 0;
    for (state, when) in [
        (ProxyState::WHOLE, "before"),
        (ProxyState::CUT, "while instance 3 is cut off from Redis"),
    ] {
        links.redis.set(state);
        println!("{when}:");
        let latencies = measure(&cluster, &mut written, time).await;
        for (number, Latencies { reads, writes }) in latencies.into_iter().enumerate() {
            println!("  instance {}, reads: {}", number + 1, summary(reads));
            println!("  instance {}, writes: {}", number + 1, summary(writes));
        }
    }
    assert!(sum(&cluster, DELIVERED).await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_unnoticed_is_replaced_and_what_it_missed_is_delivered() {
    let cluster = Cluster::start(&[]);
    let second = Links::of(&cluster, "instance-2");
    let third = Links::of(&cluster, "instance-3");
    cluster.run("stop instance-1");
    let instances = cluster.instances()[1..].to_vec();
    // The wait for it is bounded, and a busy machine may take longer, but less than the time to live.
    let lag = Duration::from_secs(15);
    let checker = Checker::begin_with(&cluster, instances, lag).await;
    checker.hits(HITS).await;
    third.redis.set(ProxyState::CUT);
    checker.writes(WRITES).await;
    for _ in 0..3 {
        checker.hits(HITS).await;
        // Nobody tells the instance that nothing comes of them any more.
        second.postgres.drop_connections();
        checker.writes(WRITES).await;
    }
    checker.hits(HITS).await;
    checker.end(5).await;
}
