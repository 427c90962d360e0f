//! A number that only grows, as the clients know it.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// How many writes of a kind took place.
#[derive(Debug, Default)]
pub struct Count {
    attempted: AtomicI64,
    /// How many are known to have taken place, and since when: acknowledged or seen.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    acknowledged: i64,
    floors: Vec<(Instant, i64)>,
}

impl Known {
    fn raise(&mut self, floor: i64) {
        if self.floors.last().is_none_or(|(_, last)| *last < floor) {
            self.floors.push((Instant::now(), floor));
        }
    }
}

impl Count {
    /// A write is about to be sent: from now on it may have taken place.
    pub fn attempt(&self) {
        self.attempted.fetch_add(1, SeqCst);
    }

    /// The write was acknowledged. One whose answer is missing stays an attempt.
    pub fn acknowledge(&self) {
        let mut known = self.known.lock().unwrap();
        known.acknowledged += 1;
        let acknowledged = known.acknowledged;
        known.raise(acknowledged);
    }

    /// What an answer that is asked for now must say at least, if it may be `lag` old.
    pub fn least(&self, lag: Duration) -> i64 {
        let now = Instant::now();
        let known = self.known.lock().unwrap();
        let mut floors = known.floors.iter().rev();
        let old = floors.find(|(since, _)| now.duration_since(*since) >= lag);
        old.map_or(0, |(_, floor)| *floor)
    }

    /// An answer said `said`. `Err` if that cannot be.
    pub fn check(&self, least: i64, said: i64) -> Result<(), String> {
        let most = self.attempted.load(SeqCst);
        if !(least..=most).contains(&said) {
            return Err(format!("{said} is not in {least}..={most}"));
        }
        self.known.lock().unwrap().raise(said);
        Ok(())
    }
}
