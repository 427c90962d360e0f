//! The answers and silences of Redis, instant by instant.

use super::*;

const SOON: Duration = Duration::from_millis(5);

/// A heartbeat that was sent at `sent` is answered at once.
fn answered(heartbeat: &Heartbeat, sent: Instant) -> BreakerChange {
    heartbeat.heartbeat_answered(sent, sent + SOON, true)
}

/// A heartbeat that was sent at `sent` is given up.
fn missed(heartbeat: &Heartbeat, sent: Instant) -> BreakerChange {
    heartbeat.heartbeat_failed(sent, sent + HEARTBEAT_TIMEOUT, LinkProblem::NoAnswer)
}

fn opened() -> BreakerChange {
    BreakerChange::Opened(LinkProblem::NoAnswer)
}

/// Redis has answered for `SETTLING_TIME`; the last heartbeat was sent at the instant returned.
fn settled() -> (Heartbeat, Instant, Epoch) {
    let start = Instant::now();
    let heartbeat = Heartbeat::default();
    assert_eq!(answered(&heartbeat, start), BreakerChange::Closed);
    heartbeat.era_proclaimed(heartbeat.epoch_without_era().unwrap(), start + SOON);
    assert_eq!(
        heartbeat.trusted_epoch(start + SOON),
        None,
        "others may not know yet that Redis is back"
    );
    let last = start + SETTLING_TIME;
    assert_eq!(answered(&heartbeat, last), BreakerChange::Unchanged);
    let epoch = heartbeat.trusted_epoch(last + SOON).unwrap();
    (heartbeat, last, epoch)
}

/// Goes on as after a heartbeat that counts: whoever has proclaimed an era waits for the others.
fn settle(heartbeat: &Heartbeat, mut at: Instant) -> Option<Epoch> {
    if let Some(epoch) = heartbeat.epoch_without_era() {
        heartbeat.era_proclaimed(epoch, at);
        for _ in 0..2 {
            at += SETTLING_TIME / 2;
            let _ = answered(heartbeat, at);
        }
    }
    heartbeat.trusted_epoch(at + SOON)
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
    assert_eq!(missed(&heartbeat, last), opened());
    assert_eq!(heartbeat.trusted_epoch(last + SOON), None);
    let back = last + HEARTBEAT_TIMEOUT;
    assert_eq!(answered(&heartbeat, back), BreakerChange::Closed);
    assert_eq!(heartbeat.trusted_epoch(back + SOON), Some(epoch));
}

#[test]
fn a_gap_between_heartbeats_begins_a_new_epoch() {
    for is_noticed in [false, true] {
        let (heartbeat, last, epoch) = settled();
        if is_noticed {
            assert_eq!(missed(&heartbeat, last + SOON), opened());
        }
        let back = last + TRUST_LIMIT + SOON;
        let _ = answered(&heartbeat, back);
        assert_eq!(heartbeat.trusted_epoch(back + SOON), None);
        let after = settle(&heartbeat, back + SOON);
        assert!(after.is_some() && after != Some(epoch));
    }
}

#[test]
fn a_broken_connection_and_a_refused_heartbeat_begin_a_new_epoch() {
    let refused = LinkProblem::Refused("MISCONF".into());
    for is_refused in [false, true] {
        let (heartbeat, last, epoch) = settled();
        let change = if is_refused {
            heartbeat.heartbeat_failed(last, last + SOON, refused.clone())
        } else {
            heartbeat.connection_broke(refused.clone())
        };
        assert_eq!(change, BreakerChange::Opened(refused.clone()));
        heartbeat.era_proclaimed(epoch, last + SOON);
        assert_eq!(answered(&heartbeat, last + SOON), BreakerChange::Closed);
        assert_eq!(
            heartbeat.trusted_epoch(last + SOON),
            None,
            "the era was proclaimed for an older epoch"
        );
        assert_ne!(settle(&heartbeat, last + SOON), Some(epoch));
    }
}

#[test]
fn a_late_answer_does_not_count_but_is_no_silence() {
    let (heartbeat, last, epoch) = settled();
    let sent = last + HEARTBEAT_PERIOD;
    let late = sent + HEARTBEAT_TIMEOUT + SOON;
    // This instance was stalled, and has not given it up.
    assert_eq!(heartbeat.heartbeat_answered(sent, late, true), opened());
    assert_eq!(heartbeat.trusted_epoch(late), None);
    let mut sent = late;
    for _ in 0..20 {
        let _ = missed(&heartbeat, sent);
        heartbeat.heartbeat_accepted();
        sent += HEARTBEAT_TIMEOUT;
        assert!(!heartbeat.is_silent_for(HEARTBEAT_PERIOD, sent));
        assert_eq!(heartbeat.silence(sent), Duration::ZERO);
    }
    let _ = answered(&heartbeat, late);
    assert_eq!(heartbeat.trusted_epoch(late + SOON), Some(epoch));
}

#[test]
fn every_silence_that_makes_a_writer_go_on_is_noticed_whenever_heartbeats_fall() {
    let silence = 9 * HEARTBEAT_PERIOD;
    for offset in (0..100).map(Duration::from_millis) {
        let (heartbeat, last, before) = settled();
        // The last heartbeat before the silence was sent at its very beginning; the first that
        // is answered may have waited for all of HEARTBEAT_TIMEOUT.
        let resumed = last + silence;
        let sent = resumed.checked_sub(HEARTBEAT_TIMEOUT).unwrap() + offset;
        let _ = heartbeat.heartbeat_answered(sent, sent.max(resumed), true);
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
    for _ in 0..2 {
        for _ in 1..MAX_TIMEOUTS {
            assert_eq!(heartbeat.command_timed_out(), BreakerChange::Unchanged);
        }
        heartbeat.command_answered();
    }
    for _ in 1..MAX_TIMEOUTS {
        assert_eq!(heartbeat.command_timed_out(), BreakerChange::Unchanged);
    }
    assert_eq!(heartbeat.command_timed_out(), opened());
    assert_eq!(heartbeat.trusted_epoch(last + SOON), None);
    let next = last + HEARTBEAT_PERIOD;
    assert_eq!(answered(&heartbeat, next), BreakerChange::Closed);
    assert_eq!(heartbeat.trusted_epoch(next + SOON), Some(epoch));
}

#[test]
fn a_stall_of_this_instance_is_no_silence_of_redis() {
    let (heartbeat, last, _) = settled();
    let wait = Duration::from_secs(1);
    let woken = last + Duration::from_secs(60);
    let is_silent = |after| heartbeat.is_silent_for(wait, woken + after);
    let miss = |after| missed(&heartbeat, woken + after);
    for sent in (0..4).map(|number| number * HEARTBEAT_TIMEOUT) {
        assert!(!is_silent(sent), "others may not know yet");
        let _ = miss(sent);
    }
    assert!(!is_silent(4 * HEARTBEAT_TIMEOUT));
    let _ = miss(4 * HEARTBEAT_TIMEOUT);
    assert!(is_silent(5 * HEARTBEAT_TIMEOUT));
    // Stalled once more, after which it asks again.
    assert!(!is_silent(2 * wait));
    let _ = miss(2 * wait);
    assert!(
        !is_silent(2 * wait + HEARTBEAT_TIMEOUT),
        "one alone says nothing"
    );
    let _ = miss(2 * wait + HEARTBEAT_TIMEOUT);
    let _ = miss(3 * wait);
    assert!(
        !is_silent(3 * wait + HEARTBEAT_TIMEOUT),
        "it was stalled between"
    );
}

#[test]
fn a_late_heartbeat_keeps_an_open_breaker_open_and_a_closed_one_closed() {
    let (heartbeat, last, epoch) = settled();
    let slowly = |sent| heartbeat.heartbeat_answered(sent, sent + SOON, false);
    let late = last + HEARTBEAT_PERIOD;
    assert_eq!(slowly(late), BreakerChange::Unchanged);
    assert_eq!(heartbeat.trusted_epoch(late + SOON), Some(epoch));
    let _ = missed(&heartbeat, late);
    let late = late + HEARTBEAT_PERIOD;
    assert_eq!(slowly(late), BreakerChange::Unchanged);
    assert_eq!(heartbeat.trusted_epoch(late + SOON), None);
    assert_eq!(answered(&heartbeat, late), BreakerChange::Closed);
    assert_eq!(
        heartbeat.trusted_epoch(late + SOON),
        Some(epoch),
        "it was no silence"
    );
}

#[test]
fn a_redis_that_has_never_answered_is_spoken_of_unless_it_only_begins_slowly() {
    let start = Instant::now();
    let heartbeat = Heartbeat::default();
    for number in 1..MIN_FAILED_HEARTBEATS {
        let sent = start + number * HEARTBEAT_TIMEOUT;
        assert_eq!(missed(&heartbeat, sent), BreakerChange::Unchanged);
    }
    let sent = start + MIN_FAILED_HEARTBEATS * HEARTBEAT_TIMEOUT;
    assert_eq!(missed(&heartbeat, sent), opened());
    let heartbeat = Heartbeat::default();
    let refused = LinkProblem::Refused("WRONGPASS".into());
    assert_eq!(
        heartbeat.heartbeat_failed(start, start, refused.clone()),
        BreakerChange::Opened(refused)
    );
}
