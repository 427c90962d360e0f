//! Over a real Redis Cluster of three nodes.

use std::sync::Weak;

use tokio::net::{TcpListener, TcpStream};

use super::{super::heartbeat::HEARTBEAT_TIMEOUT, *};

/// Three masters that share the slots.
struct Cluster {
    nodes: Vec<Server>,
}

const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

impl Cluster {
    async fn start() -> Self {
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            // A node that is paused or gone takes its slots with it, and no others.
            "--cluster-require-full-coverage",
            "no",
        ];
        let nodes: Vec<_> = SLOTS.iter().map(|_| Server::start_with(&options)).collect();
        for (number, (node, (first, last))) in nodes.iter().zip(SLOTS).enumerate() {
            let epoch = (number + 1).to_string();
            node.run::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
            let (first, last) = (first.to_string(), last.to_string());
            node.run::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            let port = nodes[0].port.to_string();
            node.run::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port]);
        }
        let cluster = Self { nodes };
        until(async || cluster.is_whole()).await;
        cluster
    }

    /// Whether every node sees every other.
    fn is_whole(&self) -> bool {
        self.nodes.iter().all(|node| {
            let info: String = node.run(&["CLUSTER", "INFO"]);
            [
                "cluster_state:ok",
                "cluster_slots_ok:16384",
                "cluster_size:3",
            ]
            .iter()
            .all(|line| info.contains(line))
        })
    }

    fn settings(&self) -> RedisSettings {
        let mut settings = settings(&format!("redis://127.0.0.1:{}", self.nodes[0].port));
        settings.cluster = true;
        settings.connect_timeout = Duration::from_secs(1);
        settings
    }

    async fn open_two(&self) -> (RedisCache, RedisCache) {
        let (a, b) = (open(&self.settings()), open(&self.settings()));
        trust_each_other(&a, &b).await;
        (a, b)
    }

    /// The node that has `tenant`'s keys.
    fn node_of(&self, tenant: &TenantId) -> usize {
        let key = format!("{{{}}}", tenant.as_str());
        let slot: u16 = self.nodes[0].run(&["CLUSTER", "KEYSLOT", &key]);
        let owns = |&(first, last): &(u16, u16)| (first..=last).contains(&slot);
        SLOTS.iter().position(owns).unwrap()
    }
}

/// Starting a cluster takes seconds, so tests that harm nothing share one, each with keys of its
/// own, for as long as one of them runs.
static SHARED: tokio::sync::Mutex<Weak<Cluster>> = tokio::sync::Mutex::const_new(Weak::new());

async fn shared() -> Arc<Cluster> {
    let mut shared = SHARED.lock().await;
    if let Some(cluster) = shared.upgrade() {
        return cluster;
    }
    let cluster = Arc::new(Cluster::start().await);
    *shared = Arc::downgrade(&cluster);
    cluster
}

async fn handles() -> Handles<Instance> {
    let cluster = shared().await;
    let mut settings = cluster.settings();
    settings.key_prefix = format!("{}:", commands::new_mark());
    let (a, b) = (open(&settings), open(&settings));
    trust_each_other(&a, &b).await;
    let cluster: Arc<dyn Send + Sync> = cluster;
    two(a, b, &cluster)
}

conformance::safety!(handles());
conformance::caching!(handles());
conformance::listing!(handles());

#[tokio::test(flavor = "multi_thread")]
async fn tenants_lie_on_all_nodes_and_the_keys_of_each_on_one() {
    let cluster = Cluster::start().await;
    let (a, b) = cluster.open_two().await;
    let mut nodes = std::collections::BTreeSet::new();
    for n in 0..30 {
        let tenant = TenantId::parse(&format!("clinic {{{n}}}")).unwrap();
        let key = StatsKey::new("mega_stats", &tenant, &[]);
        let seen = seen(&a, &key).await;
        a.store(&key, &seen, entry("x")).await.unwrap();
        assert!(matches!(found(&b, &key).await, Lookup::Hit(..)));
        let fence = b.fence(&tenant).await.unwrap();
        b.release(fence).await.unwrap();
        let seen = self::seen(&a, &key).await;
        a.store(&key, &seen, entry("y")).await.unwrap();
        nodes.insert(cluster.node_of(&TenantId::parse(&format!("clinic-{n}")).unwrap()));
    }
    assert_eq!(nodes.len(), 3);
    let page = b.keys(None, 10).await.unwrap();
    assert_eq!((page.total, page.keys.len()), (30, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_do_only_what_the_service_does_is_enough_in_a_cluster() {
    let cluster = shared().await;
    for node in &cluster.nodes {
        node.run::<()>(&access::documented_user());
    }
    let mut user = cluster.settings();
    let url = format!(
        "redis://megastats:PASSWORD@127.0.0.1:{}",
        cluster.nodes[0].port
    );
    user.url = RedisUrl::parse(&url).unwrap();
    let (a, b) = (open(&user), open(&user));
    trust_each_other(&a, &b).await;
    fill(&a, "before").await;
    assert_eq!(a.keys(None, 10).await.unwrap().total, 1);
    write(&b).await;
    seen(&a, &key()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_takes_no_writes_is_noticed_by_everybody() {
    let cluster = Cluster::start().await;
    let (a, b) = cluster.open_two().await;
    fill(&b, "before").await;
    let node = &cluster.nodes[cluster.node_of(&tenant())];
    node.run::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    until(async || trusted(&b).is_none()).await;
    let fence = a.fence(&tenant()).await.unwrap();
    assert_eq!(a.release(fence).await.unwrap(), Released::Pending);
    node.run::<()>(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    failures::is_not_hit_until_trusted(&b).await;
}

async fn one_node_fails_and_returns(fail: impl Fn(&mut Server), come_back: impl Fn(&mut Server)) {
    let mut cluster = Cluster::start().await;
    let (a, b) = cluster.open_two().await;
    fill(&b, "before").await;
    let node = cluster.node_of(&tenant());
    fail(&mut cluster.nodes[node]);
    let bound = Duration::from_secs(20);
    tokio::time::timeout(bound, write(&a))
        .await
        .expect("a write goes on without its node");
    for _ in 0..100 {
        let looks = tokio::time::timeout(bound, b.look_up(&key())).await;
        assert!(!matches!(
            looks.expect("in time"),
            Ok(Lookup::Hit(..) | Lookup::Expired(..))
        ));
    }
    come_back(&mut cluster.nodes[node]);
    until(async || match b.look_up(&key()).await {
        Ok(Lookup::Hit(_, entry) | Lookup::Expired(_, entry)) => panic!("{entry:?}"),
        Ok(Lookup::Miss(_)) => true,
        Ok(Lookup::Bypass(_)) | Err(_) => false,
    })
    .await;
    until(async || !a.link.pending.must_bypass(&tenant(), Instant::now())).await;
    fill(&a, "after").await;
    until(async || is_hit(&b, "after").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_node_is_not_waited_for_and_nothing_from_before_is_hit_when_it_returns() {
    one_node_fails_and_returns(|node| node.stop(), |node| node.resume()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_not_waited_for_and_is_used_again_when_it_returns() {
    one_node_fails_and_returns(Server::kill, Server::restart).await;
}

/// Another address of a node, at which everything takes longer than a heartbeat may.
async fn slow_way_to(node: &Server) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, target) = (listener.local_addr().unwrap().port(), node.port);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                tokio::time::sleep(2 * HEARTBEAT_TIMEOUT).await;
                let mut node = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_take_longer_to_be_made_than_anything_that_is_asked_on_it() {
    let cluster = shared().await;
    let mut settings = cluster.settings();
    let port = slow_way_to(&cluster.nodes[0]).await;
    settings.url = RedisUrl::parse(&format!("redis://127.0.0.1:{port}")).unwrap();
    settings.key_prefix = format!("{}:", commands::new_mark());
    fill(&open(&settings), "cached").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_being_moved_takes_the_cache_from_its_own_tenants_only() {
    let cluster = Cluster::start().await;
    let (cache, _) = cluster.open_two().await;
    fill(&cache, "kept").await;
    let of_other = || (0..).map(|n| TenantId::parse(&format!("clinic-{n}")).unwrap());
    let here = cluster.node_of(&tenant());
    let moved = of_other().find(|one| cluster.node_of(one) != here).unwrap();
    let key_of_moved = StatsKey::new("mega_stats", &moved, &[]);
    let seen = seen(&cache, &key_of_moved).await;
    let (from, to) = (
        &cluster.nodes[cluster.node_of(&moved)],
        &cluster.nodes[here],
    );
    let slot = from.run::<u16>(&["CLUSTER", "KEYSLOT", moved.as_str()]);
    let id_of = |node: &Server| node.run::<String>(&["CLUSTER", "MYID"]);
    let (source, target) = (id_of(from), id_of(to));
    to.run::<()>(&[
        "CLUSTER",
        "SETSLOT",
        &slot.to_string(),
        "IMPORTING",
        &source,
    ]);
    from.run::<()>(&[
        "CLUSTER",
        "SETSLOT",
        &slot.to_string(),
        "MIGRATING",
        &target,
    ]);

    loop {
        fill(&cache, "kept").await;
        let epoch = trusted(&cache);
        // Its generation is there, its entry and fence are not: neither node can answer.
        let found = cache.look_up(&key_of_moved).await;
        let fence = cache.fence(&moved).await;
        let is_kept = is_hit(&cache, "kept").await;
        // Again, if heartbeats were late on a busy machine.
        if epoch.is_some() && trusted(&cache) == epoch {
            assert!(is_kept && fence.is_err());
            assert!(found.is_err() || matches!(found, Ok(Lookup::Bypass(_))));
            break;
        }
    }
    from.run::<()>(&["CLUSTER", "SETSLOT", &slot.to_string(), "STABLE"]);
    to.run::<()>(&["CLUSTER", "SETSLOT", &slot.to_string(), "STABLE"]);
    // What was refused is made good.
    until(async || {
        let lookup = cache.look_up(&key_of_moved).await;
        matches!(lookup, Ok(Lookup::Miss(later)) if later.generation != seen.generation)
    })
    .await;
}
