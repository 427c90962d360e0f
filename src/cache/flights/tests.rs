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
    let led = answers
        .iter()
        .filter(|answer| **answer == Ok((7, Role::Led)))
        .count();
    let joined = answers
        .iter()
        .filter(|answer| **answer == Ok((7, Role::Joined)))
        .count();
    assert_eq!((led, joined), (1, 99));
}

#[tokio::test]
async fn a_request_after_a_write_does_not_join_a_computation_from_before_it() {
    let (flights, key) = (flights(), key());
    let old = tokio::spawn({
        let (flights, key) = (Arc::clone(&flights), key.clone());
        async move { flights.join(&key, BEFORE, pending()).await }
    });
    settle().await;
    assert_eq!(
        flights.join(&key, AFTER, ready(2)).await,
        Ok((2, Role::Led))
    );
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
    assert_eq!(follower.await.unwrap(), Ok((7, Role::Joined)));
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
    assert_eq!(answers, [Err(Lost); 3]);
    settle().await;
    assert_eq!(
        flights.join(&key, BEFORE, ready(7)).await,
        Ok((7, Role::Led))
    );
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
    let mut expected = vec![Ok((0, Role::Led)), Ok((1, Role::Led))];
    expected.resize(6, Ok((1, Role::Joined)));
    assert_eq!(answers, expected);
    settle().await;
    assert!(
        lock(&flights.state).fenced.is_empty(),
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
    assert_eq!(first.await.unwrap(), Err(Lost));
    assert_eq!(second.await.unwrap(), Ok((7, Role::Led)));
    settle().await;
    assert!(
        lock(&flights.state).fenced.is_empty(),
        "nothing is left behind"
    );
}
