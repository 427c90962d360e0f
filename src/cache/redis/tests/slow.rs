//! A Redis that is far away: every answer takes long, but it comes.

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Instant as TokioInstant,
};

use super::{super::heartbeat::HEARTBEAT_TIMEOUT, *};

/// Another address of `server`, to which every byte and every answer takes `one_way`.
async fn far_away(server: &Server, one_way: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let port = server.port;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(pass_on_late(from_client, to_server, one_way));
            tokio::spawn(pass_on_late(from_server, to_client, one_way));
        }
    });
    format!("redis://{address}")
}

async fn pass_on_late(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    mut to: impl AsyncWrite + Unpin,
    one_way: Duration,
) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            let due = TokioInstant::now() + one_way;
            if sender.send((due, bytes[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    while let Some((due, bytes)) = receiver.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_far_away_from_redis_delivers_and_leaves_nobody_behind() {
    let server = Server::start();
    let reader = open(&server.settings());
    for round_trip in [
        HEARTBEAT_TIMEOUT + HEARTBEAT_PERIOD / 10,
        4 * HEARTBEAT_TIMEOUT,
    ] {
        let mut settings = settings(&far_away(&server, round_trip / 2).await);
        settings.invalidation_wait = Duration::from_secs(3);
        let writer = open(&settings);
        let began = Instant::now();
        // For so long that a silence would have been noticed twice.
        while began.elapsed() < 2 * settings.invalidation_wait {
            fill(&reader, "before").await;
            let fence = writer.fence(&tenant()).await.unwrap();
            assert!(is_bypass(&found(&reader, &key()).await), "{round_trip:?}");
            let released = writer.release(fence).await.unwrap();
            assert_eq!(released, Released::Everywhere, "{round_trip:?}");
            seen(&reader, &key()).await;
        }
        let own = writer.look_up(&key()).await;
        assert!(matches!(own, Ok(Lookup::Bypass(_))), "{own:?}");
    }
}

/// How many lookups `server` has run.
fn lookups(server: &Server) -> u64 {
    let stats: String = server.run(&["INFO", "commandstats"]);
    let of_lookups = stats.split_once("cmdstat_mget:calls=");
    let calls = of_lookups.and_then(|(_, calls)| calls.split(',').next()?.parse().ok());
    calls.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_after_a_write_does_not_share_one_that_began_before_it() {
    let server = Server::start();
    let writer = open(&server.settings());
    let reader = open(&settings(&far_away(&server, HEARTBEAT_TIMEOUT / 10).await));
    trust_each_other(&writer, &reader).await;
    let race = async || {
        fill(&writer, "before").await;
        let earlier = lookups(&server);
        let old = tokio::spawn({
            let reader = reader.clone();
            async move { reader.look_up(&key()).await }
        });
        while lookups(&server) == earlier && !old.is_finished() {
            tokio::task::yield_now().await;
        }
        // Redis has answered, but the answer is still on its way.
        write(&writer).await;
        let is_on_its_way = !old.is_finished();
        let new = reader.look_up(&key()).await.unwrap();
        assert!(!matches!(new, Lookup::Hit(..)), "{new:?}");
        let old = old.await.unwrap();
        is_on_its_way && matches!((old, new), (Ok(Lookup::Hit(..)), Lookup::Miss(_)))
    };
    // On a busy machine the answer may arrive first, or the reader may not trust Redis for a while.
    until(race).await;
}
