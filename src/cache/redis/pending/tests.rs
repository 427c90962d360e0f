//! What is pending for a tenant, event by event.

use super::*;

const TTL: Duration = Duration::from_secs(30);

fn counts(undelivered: usize, unraised: usize) -> PendingCounts {
    PendingCounts {
        undelivered,
        unraised,
        is_overrun: false,
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn fence(tenant: &str, id: &str) -> WriteFence {
    WriteFence {
        tenant: self::tenant(tenant),
        id: id.to_owned(),
    }
}

/// Writes that have ended at `now` with these fences, and have not been delivered.
fn ended(pending: &PendingWrites, now: Instant, fences: &[&WriteFence]) {
    for fence in fences {
        pending.start(fence);
        assert!(!pending.end(fence, now));
    }
}

#[test]
fn a_tenant_bypasses_the_cache_until_its_invalidation_is_delivered() {
    let pending = PendingWrites::new(TTL);
    let now = Instant::now();
    let f = fence("a", "f");
    pending.start(&f);
    assert!(
        !pending.must_bypass(&f.tenant, now),
        "the fence says so in Redis"
    );
    pending.end(&f, now);
    assert!(pending.must_bypass(&f.tenant, now) && !pending.must_bypass(&tenant("b"), now));
    pending.delivered(&f);
    assert!(!pending.must_bypass(&f.tenant, now));
}

#[test]
fn writes_that_deliver_in_any_order_leave_the_others_pending() {
    let pending = PendingWrites::new(TTL);
    let now = Instant::now();
    let [f, g] = ["f", "g"].map(|id| fence("a", id));
    ended(&pending, now, &[&f, &g]);
    pending.delivered(&g);
    assert!(pending.must_bypass(&f.tenant, now));
    assert!(
        pending.undelivered(now).is_empty(),
        "its writer still tries"
    );
    assert_eq!(pending.counts(now), counts(0, 0));
    pending.not_delivered(&f, now);
    assert_eq!(pending.undelivered(now), std::slice::from_ref(&f));
    assert_eq!(pending.counts(now), counts(1, 0));
    pending.delivered(&f);
    assert!(!pending.must_bypass(&f.tenant, now));
}

#[test]
fn the_undelivered_invalidations_of_a_tenant_are_bounded() {
    let pending = PendingWrites::new(TTL);
    let now = Instant::now();
    for n in 0..=MAX_UNDELIVERED {
        let fence = fence("a", &format!("f{n}"));
        ended(&pending, now, &[&fence]);
        pending.not_delivered(&fence, now);
    }
    let undelivered = pending.undelivered(now);
    assert_eq!(undelivered.len(), MAX_UNDELIVERED);
    assert_eq!(undelivered[0].id, "f1");
}

#[test]
fn an_invalidation_is_forgotten_once_every_entry_from_before_has_expired() {
    let pending = PendingWrites::new(TTL);
    let now = Instant::now();
    let f = fence("a", "f");
    ended(&pending, now, &[&f]);
    pending.not_delivered(&f, now);
    assert!(!pending.must_bypass(&f.tenant, now + TTL));
    assert_eq!(pending.counts(now + TTL), counts(0, 0));
    assert!(pending.undelivered(now + TTL).is_empty());
}

#[test]
fn a_fence_that_is_not_raised_makes_reads_bypass_until_it_is_or_its_write_has_ended() {
    let pending = PendingWrites::new(TTL);
    let now = Instant::now();
    let [f, g] = ["f", "g"].map(|id| fence("a", id));
    for fence in [&f, &g] {
        pending.start(fence);
        pending.not_raised(fence);
    }
    pending.raised(&f);
    assert_eq!(pending.unraised(), std::slice::from_ref(&g));
    assert_eq!(pending.counts(now), counts(0, 1));
    assert!(pending.must_bypass(&g.tenant, now + TTL) && !pending.must_bypass(&tenant("b"), now));
    pending.end(&g, now);
    assert!(pending.unraised().is_empty());
    pending.raised(&g);
    assert!(pending.must_bypass(&g.tenant, now), "it was raised late");
    pending.delivered(&g);
    assert!(!pending.must_bypass(&g.tenant, now));
}

#[test]
fn the_fences_of_running_writes_are_raised_again_and_those_of_others_are_not() {
    let pending = PendingWrites::new(TTL);
    let now = Instant::now();
    let [f, g] = ["f", "g"].map(|id| fence("a", id));
    pending.start(&f);
    ended(&pending, now, &[&g]);
    pending.raise_all_again();
    pending.raise_all_again();
    assert_eq!(pending.unraised(), std::slice::from_ref(&f));
    pending.raised(&f);
    assert!(
        pending.end(&f, now),
        "a command that raises it may be on its way"
    );
    pending.raise_all_again();
    assert!(pending.unraised().is_empty());
}

#[test]
fn more_tenants_than_can_be_remembered_make_every_tenant_bypass_for_a_while() {
    let pending = PendingWrites::new(TTL);
    let now = Instant::now();
    for n in 0..=MAX_TENANTS {
        let fence = fence(&format!("t{n}"), "f");
        ended(&pending, now, &[&fence]);
        pending.not_delivered(&fence, now);
    }
    let nobody = tenant("nobody");
    assert!(pending.must_bypass(&nobody, now));
    assert!(pending.counts(now).is_overrun && !pending.counts(now + TTL).is_overrun);
    assert!(!pending.must_bypass(&nobody, now + TTL));
}

#[test]
fn each_change_of_what_is_pending_is_logged_once() {
    let mut logged = PendingCounts::default();
    let overrun = |undelivered| PendingCounts {
        is_overrun: true,
        ..counts(undelivered, 0)
    };
    let steps: [(PendingCounts, &[&str]); 9] = [
        (counts(0, 1), &[]),
        (counts(1, 0), &[UNDELIVERED]),
        (counts(2, 0), &[]),
        (overrun(10_000), &[OVERRUN]),
        (overrun(10_000), &[]),
        (counts(1, 0), &[OVERRUN_ENDED]),
        (overrun(0), &[DELIVERED, OVERRUN]),
        (counts(0, 0), &[OVERRUN_ENDED]),
        (counts(0, 0), &[]),
    ];
    for (counts, lines) in steps {
        let lines = lines.iter().map(|&text| match text {
            UNDELIVERED | OVERRUN => (Level::Warn, text),
            _ => (Level::Info, text),
        });
        assert!(logged.changes(counts).eq(lines), "{counts:?}");
        logged = counts;
    }
}
