//! Single flight: requests for the same answer at the same time share one computation, or one lookup in
//! Redis.
//!
//! A computation is a task of its own: a client that goes away cannot cancel it, and its failure
//! reaches everybody who waits.

use std::{collections::HashMap, future::Future, sync::Arc};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;

use super::{key::StatsKey, stats_cache::Generation};
use crate::tasks::Tasks;

/// The computations under way.
#[derive(Debug)]
pub(super) struct Flights<T> {
    table: Arc<Mutex<FlightTable<T>>>,
    tasks: Tasks,
}

#[derive(Debug)]
struct FlightTable<T> {
    /// Computations whose result may be stored, by key and generation.
    by_generation: HashMap<(StatsKey, Generation), FlightReceiver<T>>,
    /// Computations that nobody may join once they run, by key.
    in_turn: HashMap<StatsKey, FlightsInTurn<T>>,
}

/// The computations of one key that run in turn: whoever comes while one runs shares the next.
#[derive(Debug)]
struct FlightsInTurn<T> {
    running: FlightReceiver<T>,
    next: Option<FlightReceiver<T>>,
}

type FlightReceiver<T> = watch::Receiver<Option<T>>;

/// What a request gets from a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlightResult<T> {
    /// The result of the computation.
    pub(super) value: T,
    /// Whether the request joined a computation that another had brought.
    pub(super) joined: bool,
}

/// The computation stopped without a result: it panicked, or the service stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the computation stopped without a result")]
pub struct NoResult;

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(super) fn new(tasks: Tasks) -> Self {
        let table = FlightTable {
            by_generation: HashMap::new(),
            in_turn: HashMap::new(),
        };
        Self {
            table: Arc::new(Mutex::new(table)),
            tasks,
        }
    }

    /// Joins the running computation of `key` in `generation`, or starts `compute`. The future
    /// returned waits for the result; the computation goes on without it.
    ///
    /// It is right to join a computation that began earlier: had the tenant been written to since,
    /// its generation would be another.
    pub(super) fn join(
        &self,
        key: &StatsKey,
        generation: Generation,
        compute: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<FlightResult<T>, NoResult>> + Send {
        let mut table = self.table.lock();
        let place = (key.clone(), generation);
        let running = table.by_generation.get(&place).cloned();
        let joined = running.is_some();
        let receiver = running.unwrap_or_else(|| {
            let (sender, receiver) = watch::channel(None);
            table.by_generation.insert(place.clone(), receiver.clone());
            self.start(Place::Generation(place), sender, async {}, compute);
            receiver
        });
        drop(table);
        flight_result(receiver, joined)
    }

    /// Whether anything is computed now.
    pub(super) fn is_busy(&self) -> bool {
        let table = self.table.lock();
        !table.by_generation.is_empty() || !table.in_turn.is_empty()
    }

    /// Joins a computation of `key` that has not started yet, or starts `compute` as soon as the
    /// one that runs has ended: whatever the result, it was computed after this request arrived.
    pub(super) fn join_next(
        &self,
        key: &StatsKey,
        compute: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<FlightResult<T>, NoResult>> + Send {
        let mut table = self.table.lock();
        let flights = table.in_turn.get(key);
        let next = flights.and_then(|flights| flights.next.clone());
        let joined = next.is_some();
        let receiver = next.unwrap_or_else(|| self.start_next(&mut table, key, compute));
        drop(table);
        flight_result(receiver, joined)
    }

    /// Starts `compute` once the computation of `key` that runs now, if any, has ended.
    fn start_next(
        &self,
        table: &mut FlightTable<T>,
        key: &StatsKey,
        compute: impl Future<Output = T> + Send + 'static,
    ) -> FlightReceiver<T> {
        let (sender, receiver) = watch::channel(None);
        let place = Place::InTurn(key.clone());
        if let Some(flights) = table.in_turn.get_mut(key) {
            flights.next = Some(receiver.clone());
            let running = flights.running.clone();
            let ended = next_becomes_running(Arc::clone(&self.table), key.clone(), running);
            self.start(place, sender, ended, compute);
        } else {
            let flights = FlightsInTurn {
                running: receiver.clone(),
                next: None,
            };
            table.in_turn.insert(key.clone(), flights);
            self.start(place, sender, async {}, compute);
        }
        receiver
    }

    /// Starts `compute` once `wait` has ended.
    fn start(
        &self,
        place: Place,
        sender: watch::Sender<Option<T>>,
        wait: impl Future<Output = ()> + Send + 'static,
        compute: impl Future<Output = T> + Send + 'static,
    ) {
        let flight = Flight {
            table: Arc::clone(&self.table),
            place,
            sender,
        };
        self.tasks.spawn(async move {
            wait.await;
            let value = compute.await;
            flight.sender.send_replace(Some(value));
        });
    }
}

/// Waits until the `running` computation of `key` has ended, however it ended, and notes that the next
/// one runs now.
async fn next_becomes_running<T: Clone>(
    table: Arc<Mutex<FlightTable<T>>>,
    key: StatsKey,
    running: FlightReceiver<T>,
) {
    let _ended = wait_for_value(running).await;
    if let Some(flights) = table.lock().in_turn.get_mut(&key)
        && let Some(next) = flights.next.take()
    {
        flights.running = next;
    }
}

/// Waits for the result of a flight, which the request has joined or begun.
async fn flight_result<T: Clone>(
    receiver: FlightReceiver<T>,
    joined: bool,
) -> Result<FlightResult<T>, NoResult> {
    let value = wait_for_value(receiver).await?;
    Ok(FlightResult { value, joined })
}

async fn wait_for_value<T: Clone>(mut receiver: FlightReceiver<T>) -> Result<T, NoResult> {
    let value = receiver
        .wait_for(Option::is_some)
        .await
        .map_err(|_closed| NoResult)?;
    value.clone().ok_or(NoResult)
}

/// A computation under way. It is dropped when it has ended, also by a panic: only then may the next
/// request for the same answer start another.
struct Flight<T> {
    table: Arc<Mutex<FlightTable<T>>>,
    place: Place,
    sender: watch::Sender<Option<T>>,
}

/// Where a flight stands in the table.
enum Place {
    Generation((StatsKey, Generation)),
    InTurn(StatsKey),
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        match &self.place {
            Place::Generation(place) => {
                table.by_generation.remove(place);
            }
            // The place stays while another flight is the next, and once that one runs.
            Place::InTurn(key) => {
                let own = self.sender.subscribe();
                let is_last = |flights: &FlightsInTurn<T>| {
                    flights.next.is_none() && flights.running.same_channel(&own)
                };
                if table.in_turn.get(key).is_some_and(is_last) {
                    table.in_turn.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
