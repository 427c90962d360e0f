//! The answers and silences of Redis, instant by instant.

use super::*;

const SOON: Duration = Duration::from_millis(5);

/// Redis has answered for `SETTLING_TIME`; the last heartbeat was sent at the instant returned.
fn settled() -> (Heartbeat, Instant, Epoch) {
    let start = Instant::now();
    let heartbeat = Heartbeat::new(start);
    assert_eq!(
        heartbeat.heartbeat_answered(start, start + SOON),
        BreakerChange::Closed
    );
    heartbeat.era_proclaimed(heartbeat.epoch_without_era().unwrap(), start + SOON);
    assert_eq!(
        heartbeat.trusted_epoch(start + SOON),
        None,
        "others may not know yet that Redis is back"
    );
    let last = start + SETTLING_TIME;
    heartbeat.heartbeat_answered(last, last + SOON);
    let epoch = heartbeat.trusted_epoch(last + SOON).unwrap();
    (heartbeat, last, epoch)
}

/// Goes on as after a heartbeat that counts: whoever has proclaimed an era waits for the others.
fn settle(heartbeat: &Heartbeat, mut at: Instant) -> Option<Epoch> {
    if let Some(epoch) = heartbeat.epoch_without_era() {
        heartbeat.era_proclaimed(epoch, at);
        for _ in 0..2 {
            at += SETTLING_TIME / 2;
            heartbeat.heartbeat_answered(at, at);
        }
    }
    heartbeat.trusted_epoch(at)
}

fn breaker(is_open: bool, opened: u64, closed: u64) -> Breaker {
    Breaker {
        is_open,
        opened,
        closed,
    }
}

#[test]
fn redis_is_trusted_for_a_while_after_a_heartbeat() {
    let (heartbeat, last, epoch) = settled();
    assert_eq!(
        heartbeat.trusted_epoch(last + HEARTBEAT_PERIOD),
        Some(epoch)
    );
    assert_eq!(
        heartbeat.trusted_epoch(last + TRUST_LIMIT),
        None,
        "this instance was stalled"
    );
}

#[test]
fn a_missed_heartbeat_makes_reads_bypass_the_cache_and_begins_no_new_epoch() {
    let (heartbeat, last, epoch) = settled();
    assert_eq!(heartbeat.heartbeat_timed_out(), BreakerChange::Opened);
    assert_eq!(
        heartbeat.heartbeat_timed_out(),
        BreakerChange::Unchanged,
        "a change is reported once"
    );
    assert_eq!(heartbeat.breaker(), breaker(true, 1, 1));
    assert_eq!(heartbeat.trusted_epoch(last + SOON), None);
    let back = last + HEARTBEAT_TIMEOUT;
    assert_eq!(
        heartbeat.heartbeat_answered(back, back + SOON),
        BreakerChange::Closed
    );
    assert_eq!(heartbeat.trusted_epoch(back + SOON), Some(epoch));
    assert_eq!(heartbeat.breaker(), breaker(false, 1, 2));
}

#[test]
fn a_gap_between_heartbeats_begins_a_new_epoch() {
    for noticed in [false, true] {
        let (heartbeat, last, epoch) = settled();
        if noticed {
            heartbeat.heartbeat_timed_out();
        }
        let back = last + TRUST_LIMIT + SOON;
        heartbeat.heartbeat_answered(back, back + SOON);
        assert_eq!(heartbeat.trusted_epoch(back + SOON), None);
        let after = settle(&heartbeat, back + SOON);
        assert!(after.is_some() && after != Some(epoch));
    }
}

#[test]
fn a_broken_connection_begins_a_new_epoch() {
    let (heartbeat, last, epoch) = settled();
    assert_eq!(heartbeat.connection_broke(), BreakerChange::Opened);
    heartbeat.era_proclaimed(epoch, last + SOON);
    assert_eq!(
        heartbeat.heartbeat_answered(last + SOON, last + SOON),
        BreakerChange::Closed
    );
    assert_eq!(
        heartbeat.trusted_epoch(last + SOON),
        None,
        "the era was proclaimed for an older epoch"
    );
    assert_ne!(settle(&heartbeat, last + SOON), Some(epoch));
}

#[test]
fn a_late_answer_does_not_count_but_is_no_silence() {
    let (heartbeat, last, epoch) = settled();
    let (sent, late) = (
        last + HEARTBEAT_PERIOD,
        last + HEARTBEAT_PERIOD + HEARTBEAT_TIMEOUT + SOON,
    );
    assert_eq!(
        heartbeat.heartbeat_answered(sent, late),
        BreakerChange::Opened
    );
    assert_eq!(heartbeat.trusted_epoch(late), None);
    assert_eq!(heartbeat.silence(late), Duration::ZERO);
    heartbeat.heartbeat_answered(late, late + SOON);
    assert_eq!(heartbeat.trusted_epoch(late + SOON), Some(epoch));
}

#[test]
fn every_silence_that_makes_a_writer_give_up_is_noticed_whenever_heartbeats_fall() {
    let silence = 9 * HEARTBEAT_PERIOD;
    for offset in (0..100).map(Duration::from_millis) {
        let (heartbeat, last, before) = settled();
        // The last heartbeat before the silence was sent at its very beginning; the first that
        // is answered may have waited for all of HEARTBEAT_TIMEOUT.
        let resumed = last + silence;
        let sent = resumed.checked_sub(HEARTBEAT_TIMEOUT).unwrap() + offset;
        heartbeat.heartbeat_answered(sent, sent.max(resumed));
        assert_eq!(heartbeat.trusted_epoch(resumed + SOON), None, "{offset:?}");
        assert_ne!(
            settle(&heartbeat, resumed + SOON),
            Some(before),
            "{offset:?}"
        );
    }
}

#[test]
fn commands_that_time_out_one_after_the_other_open_the_breaker_until_the_next_heartbeat() {
    let (heartbeat, last, epoch) = settled();
    assert_eq!(
        [heartbeat.command_timed_out(), heartbeat.command_timed_out()],
        [BreakerChange::Unchanged; 2]
    );
    heartbeat.command_answered();
    assert_eq!(
        [heartbeat.command_timed_out(), heartbeat.command_timed_out()],
        [BreakerChange::Unchanged; 2]
    );
    assert_eq!(heartbeat.command_timed_out(), BreakerChange::Opened);
    assert_eq!(heartbeat.trusted_epoch(last + SOON), None);
    assert_eq!(
        heartbeat.heartbeat_answered(last + HEARTBEAT_PERIOD, last + HEARTBEAT_PERIOD),
        BreakerChange::Closed
    );
    assert_eq!(
        heartbeat.trusted_epoch(last + HEARTBEAT_PERIOD),
        Some(epoch)
    );
}

#[test]
fn a_stall_of_this_instance_is_no_silence_of_redis() {
    let (heartbeat, last, _) = settled();
    let (wait, woken) = (Duration::from_secs(1), last + Duration::from_secs(60));
    let given_up = |after| heartbeat.is_silent_for(wait, woken + after);
    let miss = |after| heartbeat.heartbeat_missed(woken + after, woken + after + HEARTBEAT_TIMEOUT);
    for missed in 0..MIN_MISSED_HEARTBEATS {
        assert!(!given_up(wait), "{missed}");
        miss(missed * HEARTBEAT_TIMEOUT);
    }
    assert!(
        !given_up(MIN_MISSED_HEARTBEATS * HEARTBEAT_TIMEOUT),
        "others may not know yet"
    );
    assert!(!given_up(8 * HEARTBEAT_PERIOD) && given_up(9 * HEARTBEAT_PERIOD));
    // Stalled once more, after which it asks again.
    assert!(!given_up(2 * wait));
    miss(2 * wait);
    assert!(
        !given_up(2 * wait + HEARTBEAT_TIMEOUT),
        "one alone says nothing"
    );
    miss(2 * wait + HEARTBEAT_TIMEOUT);
    miss(3 * wait);
    assert!(
        !given_up(3 * wait + HEARTBEAT_TIMEOUT),
        "it was stalled between"
    );
    heartbeat.heartbeat_answered(woken + 4 * wait, woken + 4 * wait);
    assert!(!given_up(6 * wait));
}

#[test]
fn a_late_heartbeat_keeps_an_open_breaker_open_and_a_closed_one_closed() {
    let (heartbeat, last, epoch) = settled();
    let late = last + HEARTBEAT_PERIOD;
    assert_eq!(
        heartbeat.heartbeat_answered_slowly(late, late + SOON),
        BreakerChange::Unchanged
    );
    assert_eq!(heartbeat.trusted_epoch(late + SOON), Some(epoch));
    heartbeat.heartbeat_timed_out();
    let late = late + HEARTBEAT_PERIOD;
    assert_eq!(
        heartbeat.heartbeat_answered_slowly(late, late + SOON),
        BreakerChange::Unchanged
    );
    assert_eq!(heartbeat.trusted_epoch(late + SOON), None);
    assert_eq!(
        heartbeat.heartbeat_answered(late, late + SOON),
        BreakerChange::Closed
    );
    assert_eq!(
        heartbeat.trusted_epoch(late + SOON),
        Some(epoch),
        "it was no silence"
    );
}

#[test]
fn silence_is_counted_from_the_last_answer() {
    let (heartbeat, last, _) = settled();
    assert_eq!(
        heartbeat.silence(last + SOON + HEARTBEAT_PERIOD),
        HEARTBEAT_PERIOD
    );
    heartbeat.heartbeat_timed_out();
    assert_eq!(
        heartbeat.silence(last + SOON + HEARTBEAT_PERIOD),
        HEARTBEAT_PERIOD
    );
    heartbeat.heartbeat_answered(last + HEARTBEAT_PERIOD, last + HEARTBEAT_PERIOD);
    assert_eq!(heartbeat.silence(last + HEARTBEAT_PERIOD), Duration::ZERO);
}
