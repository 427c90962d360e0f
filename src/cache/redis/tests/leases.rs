//! A holder of a lease that dies and never ends it: how long others wait for it.

use super::{round_trips::counts, *};
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
        server.run::<()>(&["CONFIG", "RESETSTAT"]);
        assert!(seen.claim_lease(&key()).await.unwrap());

        let through = super::reader(Arc::new(Instance {
            cache: reader.clone(),
            _server: Arc::clone(&server) as Arc<dyn Send + Sync>,
        }));
        let at = Arc::clone(&server);
        let compute = async move { Ok(holders(&at).into()) };
        let reading = tokio::spawn(async move { through.read(&key(), || compute.boxed()).await });
        // It has been told that the lease is taken, and has looked again.
        let waits = || counts(&server).get("mget").is_some_and(|looks| *looks > 2);
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
