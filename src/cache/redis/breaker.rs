//! Whether reads may ask Redis, why not, and saying so in the log once at each change.

use std::fmt;

/// How many different problems are logged while the breaker is open. Further ones are not logged.
const MAX_LOGGED: usize = 8;

/// Why Redis is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkProblem {
    /// It does not answer in time.
    NoAnswer,
    /// The connection broke, or none could be made: what the client reports.
    Unreachable(String),
    /// It answers that it does not serve: what it answers.
    Refused(String),
}

impl LinkProblem {
    /// What [`LinkProblem::kind`] may say.
    pub const KINDS: [&str; 3] = ["no_answer", "unreachable", "refused"];

    /// Which kind of problem it is, in one word of [`LinkProblem::KINDS`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoAnswer => Self::KINDS[0],
            Self::Unreachable(_) => Self::KINDS[1],
            Self::Refused(_) => Self::KINDS[2],
        }
    }
}

impl fmt::Display for LinkProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("it does not answer in time"),
            Self::Unreachable(error) => write!(f, "it cannot be reached: {error}"),
            Self::Refused(error) => write!(f, "it refuses: {error}"),
        }
    }
}

/// It is open while reads do without Redis.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker {
    is_closed: bool,
    /// How often Redis was found not to be usable, at the start or later.
    pub(super) opened: u64,
    /// How often Redis has begun to answer, the first time included.
    pub(super) closed: u64,
    /// Why it is open, if this is known yet.
    pub(super) problem: Option<LinkProblem>,
    /// What was logged since it is open.
    logged: Vec<LinkProblem>,
}

/// What a heartbeat or a command has changed.
#[must_use = "it has to be logged"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BreakerChange {
    Unchanged,
    /// Redis is not used any more, or could not be used since the start.
    Opened(LinkProblem),
    /// Redis is still not used, for another reason.
    OtherProblem(LinkProblem),
    /// Redis answers again, or for the first time.
    Closed,
}

impl Breaker {
    /// Whether reads do without Redis; so they do until its first answer.
    pub(super) fn is_open(&self) -> bool {
        !self.is_closed
    }

    pub(super) fn open(&mut self, problem: LinkProblem) -> BreakerChange {
        self.is_closed = false;
        self.problem = Some(problem.clone());
        let is_first = self.logged.is_empty();
        if self.logged.contains(&problem) || self.logged.len() >= MAX_LOGGED {
            return BreakerChange::Unchanged;
        }
        self.logged.push(problem.clone());
        if is_first {
            self.opened += 1;
            BreakerChange::Opened(problem)
        } else {
            BreakerChange::OtherProblem(problem)
        }
    }

    pub(super) fn close(&mut self) -> BreakerChange {
        if self.is_closed {
            return BreakerChange::Unchanged;
        }
        self.is_closed = true;
        self.closed += 1;
        self.problem = None;
        self.logged.clear();
        BreakerChange::Closed
    }
}

impl BreakerChange {
    pub(super) fn log(self) {
        match self {
            Self::Unchanged => {}
            Self::Opened(problem) => {
                log::warn!("redis: not used, statistics are read from the database: {problem}");
            }
            Self::OtherProblem(problem) => log::warn!("redis: still not used: {problem}"),
            Self::Closed => log::info!("redis: answers"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_state_or_of_reason_is_reported_once() {
        let mut breaker = Breaker::default();
        let [refused, away] = [
            LinkProblem::Refused("WRONGPASS".into()),
            LinkProblem::Unreachable("connection refused".into()),
        ];
        for opened in 1..3 {
            assert_eq!(
                breaker.open(refused.clone()),
                BreakerChange::Opened(refused.clone())
            );
            assert_eq!(
                breaker.open(away.clone()),
                BreakerChange::OtherProblem(away.clone())
            );
            for problem in [&refused, &away] {
                assert_eq!(breaker.open(problem.clone()), BreakerChange::Unchanged);
                assert_eq!(breaker.problem.as_ref(), Some(problem));
            }
            assert!(breaker.is_open());
            assert_eq!(breaker.close(), BreakerChange::Closed);
            assert_eq!(breaker.close(), BreakerChange::Unchanged);
            assert_eq!(breaker.problem, None);
            assert_eq!([breaker.opened, breaker.closed], [opened; 2]);
        }
    }
}
