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
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use url::Url;

/// Passes bytes on, as its state says.
pub struct Proxy {
    url: Url,
    /// How many there were.
    connections: Arc<AtomicUsize>,
    orders: watch::Sender<Orders>,
}

/// What a proxy does with its connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProxyState {
    /// Resets all, and refuses others.
    pub is_cut: bool,
    /// Passes on no bytes from clients.
    pub holds_requests: bool,
    /// Passes on no bytes to clients.
    pub holds_answers: bool,
    /// How long bytes are on their way in each direction: up to half as long again, or half of it.
    pub delay: Duration,
}

/// What a proxy's connections are to do, which are numbered as they began.
#[derive(Debug, Clone, Copy, Default)]
struct Orders {
    state: ProxyState,
    /// Those with lower numbers are reset.
    first_open: usize,
    /// Nothing is passed on of those with lower numbers.
    first_alive: usize,
}

impl ProxyState {
    /// Passes everything on at once.
    pub const WHOLE: Self = Self {
        is_cut: false,
        holds_requests: false,
        holds_answers: false,
        delay: Duration::ZERO,
    };
    /// Lets nobody connect.
    pub const CUT: Self = Self {
        is_cut: true,
        ..Self::WHOLE
    };
}

impl Proxy {
    /// A proxy before the part at `url`.
    pub fn before(url: &str) -> Self {
        let mut url = Url::parse(url).unwrap();
        let target = format!("127.0.0.1:{}", url.port().unwrap());
        // Nobody else gets its port while it refuses connections.
        let reserved = bind(0);
        let port = reserved.local_addr().unwrap().port();
        url.set_port(Some(port)).unwrap();
        let listener = listen(port);
        let (sender, orders) = watch::channel(Orders::default());
        let connections = Arc::new(AtomicUsize::new(0));
        let began = Arc::clone(&connections);
        tokio::spawn(async move {
            let _reserved = reserved;
            accept(listener, &target, &began, orders).await
        });
        Self {
            url,
            connections,
            orders: sender,
        }
    }

    /// Its URL, to use in place of that of the part.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Leaves all connections that there are half-open, and passes on what later ones say.
    pub fn drop_connections(&self) {
        let first_alive = self.connections.load(SeqCst);
        self.orders
            .send_modify(|orders| orders.first_alive = first_alive);
    }

    /// Does this from now on. One that is cut, however shortly, resets every connection.
    pub fn set(&self, state: ProxyState) {
        let connections = self.connections.load(SeqCst);
        self.orders.send_modify(|orders| {
            orders.state = state;
            if state.is_cut {
                orders.first_open = connections;
            }
        });
    }
}

fn bind(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], port).into()).unwrap();
    socket
}

fn listen(port: u16) -> TcpListener {
    bind(port).listen(1024).unwrap()
}

/// Accepts connections while the proxy is not cut, until it is dropped.
async fn accept(
    mut listener: TcpListener,
    target: &str,
    connections: &AtomicUsize,
    mut orders: watch::Receiver<Orders>,
) -> Result<(), watch::error::RecvError> {
    let port = listener.local_addr().unwrap().port();
    let followed = orders.clone();
    loop {
        tokio::select! {
            client = listener.accept() => {
                let (client, _) = client.unwrap();
                let number = connections.fetch_add(1, SeqCst);
                tokio::spawn(pass_on(number, client, target.to_owned(), followed.clone()));
                continue;
            }
            cut = orders.wait_for(|orders| orders.state.is_cut) => drop(cut?),
        }
        drop(listener);
        orders.wait_for(|orders| !orders.state.is_cut).await?;
        listener = listen(port);
    }
}

async fn pass_on(
    number: usize,
    mut client: TcpStream,
    target: String,
    mut orders: watch::Receiver<Orders>,
) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let is_dead = move |orders: &Orders| number < orders.first_alive;
    let holds_requests = move |orders: &Orders| orders.state.holds_requests || is_dead(orders);
    let holds_answers = move |orders: &Orders| orders.state.holds_answers || is_dead(orders);
    tokio::select! {
        _ = pass_one_way(from_client, to_server, orders.clone(), holds_requests) => return,
        _ = pass_one_way(from_server, to_client, orders.clone(), holds_answers) => return,
        _ = orders.wait_for(|orders| orders.state.is_cut || number < orders.first_open) => {}
    }
    for stream in [client, server] {
        // So that it is reset.
        let _ = stream.set_zero_linger();
    }
}

/// Passes bytes on, each as long after it came as the state says.
async fn pass_one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut orders: watch::Receiver<Orders>,
    holds: impl Fn(&Orders) -> bool,
) -> io::Result<()> {
    let (sender, mut on_their_way) = mpsc::unbounded_channel();
    let delays = orders.clone();
    let read = async move {
        let mut bytes = [0; 4096];
        loop {
            let count = from.read(&mut bytes).await?;
            let delay = delays
                .borrow()
                .state
                .delay
                .mul_f64(rand::random_range(0.5..1.5));
            let due = Instant::now() + delay;
            if count == 0 || sender.send((due, bytes[..count].to_vec())).is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, bytes)) = on_their_way.recv().await {
            sleep_until(due).await;
            let _ = orders.wait_for(|orders| !holds(orders)).await;
            to.write_all(&bytes).await?;
        }
        io::Result::Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}
