//! One instance that alone cannot reach Redis. It writes on, and what it writes the others may see
//! late, but no later than the time to live: nobody else is allowed that, ever.

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

/// How long an answer may be on its way, on any machine.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// A way to Redis that can be cut, or only be gone to its end.
pub struct Way {
    port: u16,
    open: watch::Sender<bool>,
    muted: watch::Sender<bool>,
}

impl Way {
    /// Leads to `target`, a `redis://host:port`.
    pub async fn to(target: &str) -> Self {
        let target = target.trim_start_matches("redis://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, is_open) = watch::channel(true);
        let (muted, is_muted) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (target, mut is_open) = (target.clone(), is_open.clone());
                let is_muted = is_muted.clone();
                tokio::spawn(async move {
                    if !*is_open.borrow() {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect(target).await else {
                        return;
                    };
                    let (mut said, mut told) = client.split();
                    let (mut answers, mut asked) = server.split();
                    tokio::select! {
                        _ = copy(&mut said, &mut asked) => {}
                        _ = answer(&mut answers, &mut told, is_muted) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { port, open, muted }
    }

    /// Where it begins.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Opens it, or cuts every connection and takes no other.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Lets nothing back from now on: Redis does as it is told, and its answers do not arrive.
    pub fn mute(&self) {
        self.muted.send_replace(true);
    }
}

/// Passes answers on, as long as they may come back.
async fn answer(
    answers: &mut (impl AsyncRead + Unpin),
    told: &mut (impl AsyncWrite + Unpin),
    mut is_muted: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let read = answers.read(&mut bytes).await?;
        let _ = is_muted.wait_for(|muted| !muted).await;
        if read == 0 {
            return Ok(());
        }
        told.write_all(&bytes[..read]).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_cut_off_from_redis_is_seen_late_but_within_the_ttl() {
    let ttl = TTL.as_secs().to_string();
    let cluster = Cluster::start(&[("MEGASTATS__CACHE__TTL_SECONDS", &ttl)]);
    let way = Way::to(cluster.url("redis")).await;
    cluster.tell("stop instance-3");
    cluster.tell(&format!(
        "start instance-3 MEGASTATS__CACHE__REDIS__URL={}",
        way.url()
    ));
    // Of what these write each other nobody is late, ever.
    let connected = cluster.instances()[..INSTANCES - 1].to_vec();
    let among_connected = Checker::begin_with(&cluster, connected, Duration::ZERO).await;
    let checker = Checker::begin_with(&cluster, cluster.instances(), TTL + ON_ITS_WAY).await;
    checker.hits(50).await;
    way.set_open(false);
    checker.writes(24).await;
    checker.hits(50).await;
    among_connected.hits(50).await;
    way.set_open(true);
    checker.hits(50).await;
    checker.end(20).await.assert_all_answered();
    among_connected.end(20).await.assert_all_answered();

    // Once it is back and has told what it owed, nobody is late any more.
    let urls = cluster.instances();
    let clients = Checker::begin_without_faults(&cluster, urls, Duration::ZERO).await;
    clients.hits(100).await;
    clients.end(30).await.assert_all_answered();
}
