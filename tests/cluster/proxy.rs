//! A proxy in front of a part of the cluster, whose connections can be cut, held or slow.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// Passes bytes on, as its state says.
pub struct Proxy {
    port: u16,
    /// How many there were.
    connections: Arc<AtomicUsize>,
    state: watch::Sender<ProxyState>,
}

/// What a proxy does with its connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProxyState {
    /// Cuts all, and accepts no others.
    pub is_cut: bool,
    /// Passes on no bytes from clients.
    pub holds_requests: bool,
    /// Passes on no bytes to clients.
    pub holds_answers: bool,
    /// How long bytes are on their way, in each direction.
    pub delay: Duration,
    /// Passes on nothing of connections with a lower number, which began earlier.
    pub first_alive: usize,
}

impl Proxy {
    /// A proxy before the part at `url`.
    pub async fn before(url: &str) -> Self {
        let url = url::Url::parse(url).unwrap();
        let target = format!("127.0.0.1:{}", url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, state) = watch::channel(ProxyState::default());
        let connections = Arc::new(AtomicUsize::new(0));
        let began = Arc::clone(&connections);
        tokio::spawn(async move {
            for number in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                began.store(number + 1, SeqCst);
                tokio::spawn(pass_on(number, client, target.clone(), state.clone()));
            }
        });
        Self {
            port,
            state: sender,
            connections,
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, to use in place of that of Redis.
    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Leaves all connections that there are half-open, and passes on what later ones say.
    pub fn forget_connections(&self) {
        let first_alive = self.connections.load(SeqCst);
        self.state
            .send_modify(|state| state.first_alive = first_alive);
    }

    /// Does this from now on.
    pub fn set(&self, state: ProxyState) {
        self.state.send_replace(state);
    }
}

async fn pass_on(
    number: usize,
    client: TcpStream,
    target: String,
    mut state: watch::Receiver<ProxyState>,
) {
    if state.borrow().is_cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let holds_requests =
        move |state: &ProxyState| state.holds_requests || number < state.first_alive;
    let holds_answers = move |state: &ProxyState| state.holds_answers || number < state.first_alive;
    tokio::select! {
        _ = pass_one_way(from_client, to_server, state.clone(), holds_requests) => {}
        _ = pass_one_way(from_server, to_client, state.clone(), holds_answers) => {}
        _ = state.wait_for(|state| state.is_cut) => {}
    }
}

/// Passes bytes on, each as long after it came as the state says.
async fn pass_one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<ProxyState>,
    holds: impl Fn(&ProxyState) -> bool,
) -> io::Result<()> {
    let (sender, mut on_their_way) = mpsc::unbounded_channel();
    let delay = state.clone();
    let read = async move {
        let mut bytes = [0; 4096];
        loop {
            let count = from.read(&mut bytes).await?;
            let due = Instant::now() + delay.borrow().delay;
            if count == 0 || sender.send((due, bytes[..count].to_vec())).is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, bytes)) = on_their_way.recv().await {
            sleep_until(due).await;
            let _ = state.wait_for(|state| !holds(state)).await;
            to.write_all(&bytes).await?;
        }
        io::Result::Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}
