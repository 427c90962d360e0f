//! One instance that alone cannot reach Redis. It goes on writing, and the other instances may see
//! its writes late, but no later than the time to live. No other write may be seen late, ever.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    checker::Checker,
    cluster::{Cluster, INSTANCES},
};

const TTL: Duration = Duration::from_secs(3);

/// How long an answer may take to arrive, on any machine.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// A proxy before Redis, which can cut all connections or hold back all answers.
pub struct Proxy {
    port: u16,
    open: watch::Sender<bool>,
    holding_back: watch::Sender<bool>,
}

impl Proxy {
    /// A proxy before `target`, a `redis://host:port`.
    pub async fn before(target: &str) -> Self {
        let target = target.trim_start_matches("redis://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, is_open) = watch::channel(true);
        let (holding_back, holds_back) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (target, mut is_open) = (target.clone(), is_open.clone());
                let holds_back = holds_back.clone();
                tokio::spawn(async move {
                    if !*is_open.borrow() {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect(target).await else {
                        return;
                    };
                    let (mut from_client, mut to_client) = client.split();
                    let (mut from_server, mut to_server) = server.split();
                    tokio::select! {
                        _ = copy(&mut from_client, &mut to_server) => {}
                        _ = pass_on_answers(&mut from_server, &mut to_client, holds_back) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self {
            port,
            open,
            holding_back,
        }
    }

    /// Its URL, to use in place of that of Redis.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Accepts connections, or cuts all and accepts no others.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Holds all answers back from now on: Redis obeys commands, and nobody hears that it did.
    pub fn hold_answers_back(&self) {
        self.holding_back.send_replace(true);
    }
}

/// Passes answers on, as long as they are not held back.
async fn pass_on_answers(
    from_server: &mut (impl AsyncRead + Unpin),
    to_client: &mut (impl AsyncWrite + Unpin),
    mut holds_back: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let read = from_server.read(&mut bytes).await?;
        let _ = holds_back.wait_for(|holds_back| !holds_back).await;
        if read == 0 {
            return Ok(());
        }
        to_client.write_all(&bytes[..read]).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_cut_off_from_redis_is_seen_late_but_within_the_ttl() {
    let ttl = TTL.as_secs().to_string();
    let cluster = Cluster::start(&[("MEGASTATS__CACHE__TTL_SECONDS", &ttl)]);
    let proxy = Proxy::before(cluster.url("redis")).await;
    cluster.run("stop instance-3");
    cluster.run(&format!(
        "start instance-3 MEGASTATS__CACHE__REDIS__URL={}",
        proxy.url()
    ));
    // Instances that reach Redis never see each other's writes late.
    let connected = cluster.instances()[..INSTANCES - 1].to_vec();
    let among_connected = Checker::begin_with(&cluster, connected, Duration::ZERO).await;
    let checker = Checker::begin_with(&cluster, cluster.instances(), TTL + ON_ITS_WAY).await;
    checker.hits(50).await;
    proxy.set_open(false);
    checker.writes(24).await;
    checker.hits(50).await;
    among_connected.hits(50).await;
    proxy.set_open(true);
    checker.hits(50).await;
    checker.end(20).await.assert_all_answered();
    among_connected.end(20).await.assert_all_answered();

    // Once it is back and Redis has its invalidations, no instance sees a write late any more.
    let urls = cluster.instances();
    let clients = Checker::begin_without_faults(&cluster, urls, Duration::ZERO).await;
    clients.hits(100).await;
    clients.end(30).await.assert_all_answered();
}
