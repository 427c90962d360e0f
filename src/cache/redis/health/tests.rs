//! Redis' answers and silences, instant by instant.

use super::*;

const SOON: Duration = Duration::from_millis(5);

/// Redis has answered for `SETTLE`; the last heartbeat was sent at the instant returned.
fn settled() -> (Health, Instant, Epoch) {
    let start = Instant::now();
    let health = Health::new(start);
    assert_eq!(health.beat(start, start + SOON), Beat::Back);
    health.proclaimed(health.unproclaimed().unwrap(), start + SOON);
    assert_eq!(
        health.trusted(start + SOON),
        None,
        "others may not have heard"
    );
    let last = start + SETTLE;
    health.beat(last, last + SOON);
    let epoch = health.trusted(last + SOON).unwrap();
    (health, last, epoch)
}

/// As after a heartbeat that counts: who has proclaimed the epoch waits for the others.
fn settle(health: &Health, mut at: Instant) -> Option<Epoch> {
    if let Some(epoch) = health.unproclaimed() {
        health.proclaimed(epoch, at);
        for _ in 0..2 {
            at += SETTLE / 2;
            health.beat(at, at);
        }
    }
    health.trusted(at)
}

#[test]
fn a_heartbeat_vouches_for_a_while() {
    let (health, last, epoch) = settled();
    assert_eq!(health.trusted(last + PERIOD), Some(epoch));
    assert_eq!(
        health.trusted(last + TRUST),
        None,
        "this instance was stalled"
    );
}

#[test]
fn a_missed_heartbeat_sends_reads_elsewhere_and_forgets_nothing() {
    let (health, last, epoch) = settled();
    assert_eq!(health.missed(), Beat::Lost);
    assert_eq!(health.missed(), Beat::Same, "told once");
    assert_eq!(health.breaker(), (true, 1, 1));
    assert_eq!(health.trusted(last + SOON), None);
    let back = last + PATIENCE;
    assert_eq!(health.beat(back, back + SOON), Beat::Back);
    assert_eq!(health.trusted(back + SOON), Some(epoch));
    assert_eq!(health.breaker(), (false, 1, 2));
}

#[test]
fn a_gap_between_heartbeats_begins_a_new_epoch() {
    for noticed in [false, true] {
        let (health, last, epoch) = settled();
        if noticed {
            health.missed();
        }
        let back = last + TRUST + SOON;
        health.beat(back, back + SOON);
        assert_eq!(health.trusted(back + SOON), None);
        let after = settle(&health, back + SOON);
        assert!(after.is_some() && after != Some(epoch));
    }
}

#[test]
fn a_broken_connection_begins_a_new_epoch() {
    let (health, last, epoch) = settled();
    assert_eq!(health.broken(), Beat::Lost);
    health.proclaimed(epoch, last + SOON);
    assert_eq!(health.beat(last + SOON, last + SOON), Beat::Back);
    assert_eq!(
        health.trusted(last + SOON),
        None,
        "an older epoch was told of"
    );
    assert_ne!(settle(&health, last + SOON), Some(epoch));
}

#[test]
fn a_late_answer_does_not_vouch_but_is_no_silence() {
    let (health, last, epoch) = settled();
    let (sent, late) = (last + PERIOD, last + PERIOD + PATIENCE + SOON);
    assert_eq!(health.beat(sent, late), Beat::Lost);
    assert_eq!(health.trusted(late), None);
    assert_eq!(health.silence(late), Duration::ZERO);
    health.beat(late, late + SOON);
    assert_eq!(health.trusted(late + SOON), Some(epoch));
}

#[test]
fn every_silence_that_makes_a_writer_give_up_is_noticed_whenever_heartbeats_fall() {
    let silence = 9 * PERIOD;
    for offset in (0..100).map(Duration::from_millis) {
        let (health, last, before) = settled();
        // The last heartbeat before the silence was sent at its very beginning; the first that
        // is answered may have waited for all of PATIENCE.
        let resumed = last + silence;
        let sent = resumed.checked_sub(PATIENCE).unwrap() + offset;
        health.beat(sent, sent.max(resumed));
        assert_eq!(health.trusted(resumed + SOON), None, "{offset:?}");
        assert_ne!(settle(&health, resumed + SOON), Some(before), "{offset:?}");
    }
}

#[test]
fn commands_without_an_answer_in_a_row_open_the_breaker_until_the_next_heartbeat() {
    let (health, last, epoch) = settled();
    assert_eq!([health.unanswered(), health.unanswered()], [Beat::Same; 2]);
    health.answered();
    assert_eq!([health.unanswered(), health.unanswered()], [Beat::Same; 2]);
    assert_eq!(health.unanswered(), Beat::Lost);
    assert_eq!(health.trusted(last + SOON), None);
    assert_eq!(health.beat(last + PERIOD, last + PERIOD), Beat::Back);
    assert_eq!(health.trusted(last + PERIOD), Some(epoch));
}

#[test]
fn a_stall_of_this_instance_is_no_silence_of_redis() {
    let (health, last, _) = settled();
    let (wait, woken) = (Duration::from_secs(1), last + Duration::from_secs(60));
    let given_up = |after| health.is_given_up(woken + after, wait);
    let miss = |after| health.unheard(woken + after, woken + after + PATIENCE);
    for missed in 0..MIN_MISSED {
        assert!(!given_up(wait), "{missed}");
        miss(missed * PATIENCE);
    }
    assert!(!given_up(MIN_MISSED * PATIENCE), "others may not know yet");
    assert!(!given_up(8 * PERIOD) && given_up(9 * PERIOD));
    // Stalled once more, after which it asks again.
    assert!(!given_up(2 * wait));
    miss(2 * wait);
    assert!(!given_up(2 * wait + PATIENCE), "one alone says nothing");
    miss(2 * wait + PATIENCE);
    miss(3 * wait);
    assert!(!given_up(3 * wait + PATIENCE), "it was stalled between");
    health.beat(woken + 4 * wait, woken + 4 * wait);
    assert!(!given_up(6 * wait));
}

#[test]
fn a_late_heartbeat_keeps_an_open_breaker_open_and_a_closed_one_closed() {
    let (health, last, epoch) = settled();
    let late = last + PERIOD;
    assert_eq!(health.beat_late(late, late + SOON), Beat::Same);
    assert_eq!(health.trusted(late + SOON), Some(epoch));
    health.missed();
    let late = late + PERIOD;
    assert_eq!(health.beat_late(late, late + SOON), Beat::Same);
    assert_eq!(health.trusted(late + SOON), None);
    assert_eq!(health.beat(late, late + SOON), Beat::Back);
    assert_eq!(
        health.trusted(late + SOON),
        Some(epoch),
        "it was no silence"
    );
}

#[test]
fn silence_is_counted_from_the_last_answer() {
    let (health, last, _) = settled();
    assert_eq!(health.silence(last + SOON + PERIOD), PERIOD);
    health.missed();
    assert_eq!(health.silence(last + SOON + PERIOD), PERIOD);
    health.beat(last + PERIOD, last + PERIOD);
    assert_eq!(health.silence(last + PERIOD), Duration::ZERO);
}
