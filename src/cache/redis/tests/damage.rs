//! Keys that somebody else has damaged: misses, never errors, and healed by the next store or write.

use super::*;

const GENERATION: &str = "megastats:{clinic}:generation";
const FENCE: &str = "megastats:{clinic}:fence";
const ENTRY: &str = "megastats:{clinic}:mega_stats:clinic";
const LIST: &str = "megastats:keys";
const ERA: &str = "megastats:era";

/// Damages `name` by each of several commands.
async fn damage(name: &str, check: impl AsyncFn(&RedisCache, &RedisCache)) {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    for command in [
        &["SET", name, ""][..],
        &["SET", name, "MS0 from another version"],
        &["SETRANGE", name, "3", "x"],
        &["SETRANGE", name, "30", "\u{fffd}"],
        &["DEL", name],
        &["LPUSH", name, "x"],
        &["HSET", name, "x", "1"],
    ] {
        fill(&a, "before").await;
        let is_text = server.run::<String>(&["TYPE", name]) == "string";
        if !is_text || ["LPUSH", "HSET"].contains(&command[0]) {
            server.run::<i64>(&["DEL", name]);
        }
        server.run::<()>(command);
        check(&a, &b).await;
        // Healed.
        fill(&b, "after").await;
        until(async || is_hit(&a, "after").await).await;
        write(&b).await;
        seen(&a, &key()).await;
        let page = a.keys(None, 10).await.unwrap();
        assert_eq!(page.total, 0, "{command:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_generation_is_a_miss() {
    damage(GENERATION, async |_, b| {
        seen(b, &key()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_entry_is_a_miss() {
    damage(ENTRY, async |_, b| {
        seen(b, &key()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_fence_is_replaced_by_the_next_write() {
    damage(FENCE, async |a, _| write(a).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_list_of_keys_is_written_anew() {
    damage(LIST, async |a, _| {
        write(a).await;
        fill(a, "between").await;
        assert_eq!(a.keys(None, 10).await.unwrap().total, 1);
        write(a).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_era_is_proclaimed_anew() {
    damage(ERA, async |a, b| {
        write(a).await;
        trust_each_other(a, b).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_under_any_key_are_answered() {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    for n in 0..200_u32 {
        let garbage: String = (0..n % 60).map(|_| rand::random::<char>()).collect();
        for name in [GENERATION, ENTRY] {
            server.run::<()>(&["SET", name, &garbage]);
        }
        seen(&b, &key()).await;
    }
    fill(&a, "after").await;
}
