//! For how long others wait for the holder of a lease: one that dies, and one that has stored its result.

use super::*;
use crate::cache::Outcome;

/// Longer than anybody waits.
const TOO_LONG: u64 = 60_000;

/// Who holds leases, as Redis knows them.
fn holders(server: &Server) -> String {
    let leases: Vec<String> = server.run(&["KEYS", "*:lease:*"]);
    let holders = leases.iter().map(|lease| server.run(&["GET", lease]));
    holders
        .collect::<Option<Vec<String>>>()
        .unwrap_or_default()
        .join(" and ")
}

/// Which of the two held the lease when the reader computed.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    Dead,
    Reader,
}

/// Reads what another was to compute, which has died with a lease of `lease_ms`; and does
/// `meanwhile` once the reader waits. Again, if one of them did not trust Redis all that time: the
/// lease was then for a generation that has gone.
async fn read_after_a_death(lease_ms: u64, meanwhile: impl Fn(&Server)) -> Holder {
    loop {
        let server = Arc::new(Server::start());
        let mut settings = server.settings();
        settings.lease = Duration::from_millis(lease_ms);
        let (dead, reader) = (open(&settings), open(&settings));
        trust_each_other(&dead, &reader).await;
        let epochs = [trusted(&dead), trusted(&reader)];
        let seen = seen(&dead, &key()).await;
        server.record();
        assert!(seen.claim_lease(&key()).await.unwrap());

        let through = super::reader(Arc::new(Instance {
            cache: reader.clone(),
            _server: Arc::clone(&server) as Arc<dyn Send + Sync>,
        }));
        let at = Arc::clone(&server);
        let compute = async move { Ok(holders(&at).into()) };
        let reading = tokio::spawn(async move { through.read(&key(), || compute.boxed()).await });
        // It has been told that the lease is taken, and has looked again.
        let waits = || {
            let sent = server.recorded(tenant().as_str());
            sent.iter().filter(|command| *command == "MGET").count() > 2
        };
        until(async || waits() || reading.is_finished()).await;
        meanwhile(&server);
        let answer = reading.await.unwrap().unwrap();
        if epochs != [trusted(&dead), trusted(&reader)] {
            continue;
        }
        assert_eq!(answer.outcome, Outcome::Miss);
        if answer.body == reader.leases.holder {
            return Holder::Reader;
        }
        assert_eq!(answer.body, dead.leases.holder);
        return Holder::Dead;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_holder_is_waited_for_until_its_lease_ends() {
    assert_eq!(read_after_a_death(1000, |_| ()).await, Holder::Reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_holder_is_not_waited_for_once_redis_has_forgotten_its_lease() {
    let flush = |server: &Server| server.run(&["FLUSHALL"]);
    assert_eq!(read_after_a_death(TOO_LONG, flush).await, Holder::Reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_holder_is_not_waited_for_for_ever_however_long_its_lease() {
    assert_eq!(read_after_a_death(TOO_LONG, |_| ()).await, Holder::Dead);
}

/// A clock that is ahead of the machine's.
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> jiff::Timestamp {
        SystemClock.now() + self.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_result_that_was_stored_however_old_it_looks() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.lease = FOREVER;
    let stores = open(&settings);
    let tasks = Tasks::new(Handle::current());
    let ahead = Arc::new(Ahead(conformance::TTL + FOREVER));
    let reads = RedisCache::new(&settings, conformance::LIFE, ahead, &tasks).unwrap();
    trust_each_other(&stores, &reads).await;
    until(async || {
        let permit = seen(&stores, &key()).await;
        assert!(permit.claim_lease(&key()).await.unwrap());
        stores.store(&key(), &permit, entry("x")).await.unwrap();
        // To this instance it has expired.
        match found(&reads, &key()).await {
            Lookup::Miss(other) if other.generation == permit.generation => {
                assert!(other.claim_lease(&key()).await.unwrap());
                true
            }
            Lookup::Miss(_) => false,
            other => panic!("not a miss: {other:?}"),
        }
    })
    .await;
}
