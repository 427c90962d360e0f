//! Who joins whom, and what becomes of those who wait.

use std::{
    future::{pending, ready},
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
};

use super::*;
use crate::tenant::TenantId;

const BEFORE: Generation = Generation(1);
const AFTER: Generation = Generation(2);

fn flights() -> Arc<Flights<u32>> {
    Arc::new(Flights::new(Tasks::new(Handle::current())))
}

fn key() -> StatsKey {
    StatsKey::new("mega_stats", &TenantId::parse("clinic").unwrap(), &[])
}

/// What the request gets whose computation ran.
fn led(value: u32) -> FlightResult<u32> {
    FlightResult {
        value,
        joined: false,
    }
}

/// What a request gets that shared another's.
fn joined(value: u32) -> FlightResult<u32> {
    FlightResult {
        value,
        joined: true,
    }
}

/// Lets every task that can run do so.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hundred_requests_share_one_computation() {
    let (flights, key) = (flights(), key());
    let (computed, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let requests = join_all((0..100).map(|_| {
        let (computed, gate) = (Arc::clone(&computed), Arc::clone(&gate));
        flights.join(&key, BEFORE, async move {
            computed.fetch_add(1, Ordering::SeqCst);
            gate.notified().await;
            7
        })
    }));
    let (answers, ()) = tokio::join!(requests, async {
        settle().await;
        gate.notify_one();
    });
    assert_eq!(computed.load(Ordering::SeqCst), 1);
    let of = |flight| {
        answers
            .iter()
            .filter(|answer| **answer == Ok(flight))
            .count()
    };
    assert_eq!([of(led(7)), of(joined(7))], [1, 99]);
}

#[tokio::test]
async fn a_request_after_a_write_does_not_join_a_computation_from_before_it() {
    let (flights, key) = (flights(), key());
    let old = tokio::spawn({
        let (flights, key) = (Arc::clone(&flights), key.clone());
        async move { flights.join(&key, BEFORE, pending()).await }
    });
    settle().await;
    assert_eq!(flights.join(&key, AFTER, ready(2)).await, Ok(led(2)));
    old.abort();
}

#[tokio::test]
async fn a_cancelled_leader_fails_nobody_and_its_computation_goes_on() {
    let (flights, key) = (flights(), key());
    let (open, gate) = oneshot::channel::<()>();
    let leader = tokio::spawn({
        let (flights, key) = (Arc::clone(&flights), key.clone());
        async move {
            let compute = async move {
                let _ = gate.await;
                7
            };
            flights.join(&key, BEFORE, compute).await
        }
    });
    settle().await;
    let follower = tokio::spawn({
        let (flights, key) = (Arc::clone(&flights), key.clone());
        async move { flights.join(&key, BEFORE, ready(8)).await }
    });
    settle().await;
    leader.abort();
    open.send(()).unwrap();
    assert_eq!(follower.await.unwrap(), Ok(joined(7)));
}

#[tokio::test]
async fn a_panicking_computation_reaches_every_waiter_and_the_next_request_computes_anew() {
    let (flights, key) = (flights(), key());
    let gate = Arc::new(Notify::new());
    let requests = join_all((0..3).map(|_| {
        let gate = Arc::clone(&gate);
        flights.join(&key, BEFORE, async move {
            gate.notified().await;
            panic!("on purpose")
        })
    }));
    let (answers, ()) = tokio::join!(requests, async {
        settle().await;
        gate.notify_one();
    });
    assert_eq!(answers, [Err(NoResult); 3]);
    settle().await;
    assert_eq!(flights.join(&key, BEFORE, ready(7)).await, Ok(led(7)));
}

#[tokio::test]
async fn under_a_fence_nobody_joins_what_has_started_and_the_next_gathers_everybody_else() {
    let (flights, key) = (flights(), key());
    let started = Arc::new(AtomicUsize::new(0));
    let gates: Vec<_> = (0..6).map(|_| Arc::new(Notify::new())).collect();
    let mut requests = Vec::new();
    for (n, gate) in (0..).zip(&gates) {
        let (flights, key) = (Arc::clone(&flights), key.clone());
        let (started, gate) = (Arc::clone(&started), Arc::clone(gate));
        requests.push(tokio::spawn(async move {
            let compute = async move {
                started.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                n
            };
            flights.join_next(&key, compute).await
        }));
        settle().await;
    }
    assert_eq!(started.load(Ordering::SeqCst), 1, "one runs");
    gates[0].notify_one();
    settle().await;
    assert_eq!(
        started.load(Ordering::SeqCst),
        2,
        "then the next, for all the others"
    );
    gates[1].notify_one();
    let answers: Vec<_> = join_all(requests)
        .await
        .into_iter()
        .map(|answer| answer.unwrap())
        .collect();
    let mut expected = vec![Ok(led(0)), Ok(led(1))];
    expected.resize(6, Ok(joined(1)));
    assert_eq!(answers, expected);
    settle().await;
    assert!(
        flights.table.lock().in_turn.is_empty(),
        "nothing is left behind"
    );
}

#[tokio::test]
async fn under_a_fence_a_panic_passes_the_turn_on() {
    let (flights, key) = (flights(), key());
    let gate = Arc::new(Notify::new());
    let first = tokio::spawn({
        let (flights, key, gate) = (Arc::clone(&flights), key.clone(), Arc::clone(&gate));
        async move {
            let compute = async move {
                gate.notified().await;
                panic!("on purpose")
            };
            flights.join_next(&key, compute).await
        }
    });
    settle().await;
    let second = tokio::spawn({
        let (flights, key) = (Arc::clone(&flights), key.clone());
        async move { flights.join_next(&key, ready(7)).await }
    });
    settle().await;
    gate.notify_one();
    assert_eq!(first.await.unwrap(), Err(NoResult));
    assert_eq!(second.await.unwrap(), Ok(led(7)));
    settle().await;
    assert!(
        flights.table.lock().in_turn.is_empty(),
        "nothing is left behind"
    );
}
