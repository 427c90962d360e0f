//! Waiting for a turn to use a connection. Turns and places to wait are shared out fairly between
//! tenants.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::busy::BusyReason;
use crate::tenant::TenantId;

/// A limited number of turns at one time, and the callers that wait for theirs.
///
/// A tenant may have all turns and all places while nobody else wants one. Then the next turn is that of
/// the waiting tenant with the fewest, and a tenant that comes to a full queue gets a place from the
/// tenant with the most. What concerns no tenant, `None`, is treated as a tenant of its own.
#[derive(Debug)]
pub(super) struct Queue {
    lines: Mutex<Lines>,
    max_turns: usize,
    max_waiting: usize,
}

/// The right of one caller to use a connection, or on SQLite to write. Dropping it hands it on.
#[derive(Debug)]
pub struct Turn {
    queue: Arc<Queue>,
    tenant: Option<TenantId>,
}

/// One line for each tenant that has a turn or waits for one. Of two tenants, the one whose last turn
/// ended earlier comes first.
#[derive(Debug, Default)]
struct Lines(Vec<Line>);

/// How many turns a tenant has, and who waits for another.
#[derive(Debug)]
struct Line {
    tenant: Option<TenantId>,
    turns: usize,
    /// Those who have had a turn and gave it back: they come first, and nobody sends them away.
    returning: Callers,
    waiting: Callers,
}

type Callers = VecDeque<oneshot::Sender<Turn>>;

impl Line {
    fn len(&self) -> usize {
        self.returning.len() + self.waiting.len()
    }
}

/// Who has the next turn.
struct Next {
    tenant: Option<TenantId>,
    caller: oneshot::Sender<Turn>,
}

impl Queue {
    /// Has `max_turns` turns at one time, for which at most `max_waiting` callers wait.
    pub(super) fn new(max_turns: usize, max_waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            lines: Mutex::default(),
            max_turns,
            max_waiting,
        })
    }

    /// Waits for a turn on behalf of `tenant`.
    pub(super) async fn enter(
        self: &Arc<Self>,
        tenant: Option<&TenantId>,
    ) -> Result<Turn, BusyReason> {
        self.wait(tenant, |lines| {
            if lines.waiting() >= self.max_waiting {
                lines.make_room_for(tenant)?;
            }
            Ok(&mut lines.of(tenant).waiting)
        })
        .await
    }

    /// Waits for the next turn of `tenant`, on behalf of a caller that has had one and gave it back.
    pub(super) async fn enter_again(
        self: &Arc<Self>,
        tenant: Option<&TenantId>,
    ) -> Result<Turn, BusyReason> {
        self.wait(tenant, |lines| Ok(&mut lines.of(tenant).returning))
            .await
    }

    /// Takes a free turn, or waits at the end of the callers that `choose` gives.
    async fn wait(
        self: &Arc<Self>,
        tenant: Option<&TenantId>,
        choose: impl FnOnce(&mut Lines) -> Result<&mut Callers, BusyReason>,
    ) -> Result<Turn, BusyReason> {
        let turn = {
            let mut lines = self.lines();
            if lines.turns() < self.max_turns {
                lines.of(tenant).turns += 1;
                return Ok(self.turn(tenant.cloned()));
            }
            let (caller, turn) = oneshot::channel();
            choose(&mut lines)?.push_back(caller);
            turn
        };
        turn.await.map_err(|_sent_away| BusyReason::OverShare)
    }

    /// How many turns there are at the moment.
    pub(super) fn turns(&self) -> usize {
        self.lines().turns()
    }

    /// How many callers wait.
    pub(super) fn waiting(&self) -> usize {
        self.lines().waiting()
    }

    /// How many tenants wait.
    pub(super) fn waiting_tenants(&self) -> usize {
        self.lines().that_wait().count()
    }

    fn turn(self: &Arc<Self>, tenant: Option<TenantId>) -> Turn {
        Turn {
            queue: Arc::clone(self),
            tenant,
        }
    }

    /// The lines, without those who have given up.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        let mut lines = self.lines.lock();
        lines.0.retain_mut(|line| {
            for callers in [&mut line.returning, &mut line.waiting] {
                callers.retain(|caller| !caller.is_closed());
            }
            line.turns > 0 || line.len() > 0
        });
        lines
    }
}

impl Lines {
    fn position(&self, tenant: Option<&TenantId>) -> Option<usize> {
        let mut lines = self.0.iter();
        lines.position(|line| line.tenant.as_ref() == tenant)
    }

    /// That of `tenant`, which is made if there is none.
    fn of(&mut self, tenant: Option<&TenantId>) -> &mut Line {
        let position = self.position(tenant).unwrap_or_else(|| {
            self.0.push(Line {
                tenant: tenant.cloned(),
                turns: 0,
                returning: VecDeque::new(),
                waiting: VecDeque::new(),
            });
            self.0.len() - 1
        });
        &mut self.0[position]
    }

    fn turns(&self) -> usize {
        self.0.iter().map(|line| line.turns).sum()
    }

    fn waiting(&self) -> usize {
        self.0.iter().map(Line::len).sum()
    }

    fn that_wait(&mut self) -> impl Iterator<Item = &mut Line> {
        self.0.iter_mut().filter(|line| line.len() > 0)
    }

    /// Sends the last caller of the longest line away, unless that of `tenant` would then be as long.
    fn make_room_for(&mut self, tenant: Option<&TenantId>) -> Result<(), BusyReason> {
        let own = self.of(tenant).len();
        let lines = self.0.iter_mut().filter(|line| !line.waiting.is_empty());
        let longest = lines.max_by_key(|line| line.len());
        let longest = longest.filter(|line| line.len() > own + 1);
        longest.ok_or(BusyReason::QueueFull)?.waiting.pop_back();
        Ok(())
    }

    /// Ends a turn of `tenant`; returns who has the next one.
    fn end_turn(&mut self, tenant: Option<&TenantId>) -> Option<Next> {
        let mut ended = self.0.remove(self.position(tenant)?);
        ended.turns -= 1;
        self.0.push(ended);
        let line = self.that_wait().min_by_key(|line| line.turns)?;
        let caller = line
            .returning
            .pop_front()
            .or_else(|| line.waiting.pop_front())?;
        line.turns += 1;
        Some(Next {
            tenant: line.tenant.clone(),
            caller,
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.queue.lines().end_turn(self.tenant.as_ref());
        if let Some(Next { tenant, caller }) = next {
            // If the caller has just given up, this drops its turn, and so hands it on again.
            drop(caller.send(self.queue.turn(tenant)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::{
        FutureExt,
        future::{BoxFuture, MaybeDone, maybe_done},
    };

    use super::*;

    /// Somebody who has entered a queue, and what became of them.
    struct Caller(MaybeDone<BoxFuture<'static, Outcome>>);

    type Outcome = Result<Turn, BusyReason>;

    impl Caller {
        /// Enters `queue` for the tenant of that name; for none if there is no name.
        fn enter(queue: &Arc<Queue>, tenant: &str) -> Self {
            let queue = Arc::clone(queue);
            let tenant = TenantId::parse(tenant).ok();
            Self::begin(async move { queue.enter(tenant.as_ref()).await })
        }

        /// Enters `queue` as one of that tenant that has had a turn.
        fn enter_again(queue: &Arc<Queue>, tenant: &str) -> Self {
            let queue = Arc::clone(queue);
            let tenant = TenantId::parse(tenant).ok();
            Self::begin(async move { queue.enter_again(tenant.as_ref()).await })
        }

        fn begin(entered: impl Future<Output = Outcome> + Send + 'static) -> Self {
            let mut caller = Self(maybe_done(entered.boxed()));
            caller.look();
            caller
        }

        fn look(&mut self) -> Option<&Outcome> {
            (&mut self.0).now_or_never();
            Pin::new(&mut self.0).output_mut().map(|outcome| &*outcome)
        }

        fn waits(&mut self) -> bool {
            self.look().is_none()
        }

        fn has_turn(&mut self) -> bool {
            self.look().is_some_and(Result::is_ok)
        }

        fn refusal(&mut self) -> Option<BusyReason> {
            self.look()?.as_ref().err().copied()
        }
    }

    /// Callers who enter one after the other, each for the tenant that one letter names.
    fn callers<const N: usize>(queue: &Arc<Queue>, tenants: [&str; N]) -> [Caller; N] {
        tenants.map(|tenant| Caller::enter(queue, tenant))
    }

    #[test]
    fn one_tenant_alone_may_have_every_turn_and_every_place() {
        let queue = Queue::new(2, 2);
        let [mut first, mut second, mut third, mut fourth, mut fifth] = callers(&queue, ["a"; 5]);
        assert!(first.has_turn() && second.has_turn());
        assert!(third.waits() && fourth.waits());
        assert_eq!(fifth.refusal(), Some(BusyReason::QueueFull));
        assert_eq!((queue.turns(), queue.waiting()), (2, 2));
        drop(first);
        assert!(third.has_turn() && fourth.waits(), "the first who waits");
        drop((second, third));
        assert!(fourth.has_turn());
        drop(fourth);
        assert_eq!((queue.turns(), queue.waiting()), (0, 0));
    }

    #[test]
    fn tenants_who_wait_have_their_turns_one_after_the_other() {
        let queue = Queue::new(1, 10);
        let tenants = ["a", "a", "a", "a", "b", "b", "", "c"];
        let mut callers = Vec::from(callers(&queue, tenants).map(Some));
        let mut turn = callers[0].take();
        for next in [4, 6, 7, 1, 5, 2, 3] {
            assert!(turn.take().unwrap().has_turn());
            turn = callers[next].take();
        }
        assert!(turn.unwrap().has_turn());
    }

    #[test]
    fn of_several_turns_the_next_is_for_the_tenant_that_has_the_fewest() {
        let queue = Queue::new(2, 10);
        let [first, second, mut third, _fourth] = callers(&queue, ["slow"; 4]);
        let [mut quick, mut quicker] = callers(&queue, ["quick"; 2]);
        drop(first);
        assert!(quick.has_turn());
        drop(quick);
        assert!(quicker.has_turn(), "the other tenant has a turn already");
        drop(second);
        assert!(third.has_turn());
    }

    #[test]
    fn who_comes_to_a_full_queue_gets_the_last_place_of_the_tenant_with_the_most() {
        let queue = Queue::new(1, 3);
        let [_turn, mut first, mut second, mut third] = callers(&queue, ["a"; 4]);
        let [mut b, mut c, mut d] = callers(&queue, ["b", "c", "d"]);
        assert_eq!(third.refusal(), Some(BusyReason::OverShare));
        assert_eq!(second.refusal(), Some(BusyReason::OverShare));
        assert!(first.waits() && b.waits() && c.waits());
        assert_eq!(d.refusal(), Some(BusyReason::QueueFull));
        let mut again = Caller::enter(&queue, "a");
        assert_eq!(again.refusal(), Some(BusyReason::QueueFull));
        assert_eq!((queue.waiting(), queue.waiting_tenants()), (3, 3));
    }

    #[test]
    fn a_tenant_takes_no_place_to_have_as_many_as_the_other() {
        let queue = Queue::new(1, 3);
        let [_turn, _first, mut second] = callers(&queue, ["a"; 3]);
        let [mut b, mut another] = callers(&queue, ["b"; 2]);
        assert!(second.waits() && b.waits());
        assert_eq!(another.refusal(), Some(BusyReason::QueueFull));
    }

    #[test]
    fn who_gives_up_leaves_the_queue_and_whoever_has_a_turn_by_then_hands_it_on() {
        let queue = Queue::new(1, 1);
        let [turn, waiting] = callers(&queue, ["a"; 2]);
        drop(waiting);
        assert_eq!(queue.waiting(), 0);
        let told_but_gone = Caller::enter(&queue, "b");
        drop(turn);
        assert_eq!(queue.turns(), 1, "it was told, and has not looked");
        let mut next = Caller::enter(&queue, "c");
        assert!(next.waits());
        drop(told_but_gone);
        assert!(next.has_turn());
    }

    #[test]
    fn whoever_returns_comes_first_of_its_tenant_but_not_before_other_tenants() {
        let queue = Queue::new(1, 2);
        let [turn, mut waiting] = callers(&queue, ["a"; 2]);
        let mut given_up = Caller::enter_again(&queue, "a");
        let mut returning = Caller::enter_again(&queue, "a");
        assert!(given_up.waits() && returning.waits());
        drop(given_up);
        let mut other = Caller::enter(&queue, "b");
        assert_eq!(waiting.refusal(), Some(BusyReason::OverShare));
        drop(turn);
        assert!(other.has_turn() && returning.waits());
        drop(other);
        assert!(returning.has_turn());
        let mut waiting = Caller::enter(&queue, "a");
        drop(returning);
        assert!(waiting.has_turn());
    }

    #[test]
    fn without_places_nobody_waits() {
        let queue = Queue::new(1, 0);
        let [mut first, mut second] = callers(&queue, ["a", "b"]);
        assert!(first.has_turn());
        assert_eq!(second.refusal(), Some(BusyReason::QueueFull));
    }
}
