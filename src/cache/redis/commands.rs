//! What is said to Redis: keys, commands and marks. Not here: what the scripts do (`scripts`), and
//! saying it (`link`).

use std::{fmt::Display, time::Duration};

use redis::{Cmd, cmd};

use super::{
    envelope::Envelope,
    era::Era,
    scripts::{END_LEASE, LIST_KEY, MOVE_FENCE, RENEW, SET_MARK, STORE},
};
use crate::{
    cache::{Generation, StatsKey, key::escaped},
    tenant::TenantId,
};

/// How long a generation is kept: longer than any entry, and whoever finds it gone sets another.
const GENERATION_LIFE: Duration = Duration::from_secs(48 * 3600);

/// Keys looked at for a page of the list.
const MAX_LISTED: usize = 10_000;

/// Hexadecimal digits of a mark.
const MARK: usize = 16;

/// Writes commands for keys with one prefix.
pub(super) struct Commands {
    prefix: String,
}

impl Commands {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// Generation, fence and entry of each key, the three of them at one moment.
    pub(super) fn look_up<'a>(&self, keys: impl IntoIterator<Item = &'a StatsKey>) -> Cmd {
        let mut command = cmd("MGET");
        for key in keys {
            command
                .arg(self.key(key.tenant(), "generation"))
                .arg(self.key(key.tenant(), "fence"))
                .arg(self.key(key.tenant(), key.as_str()));
        }
        command
    }

    /// Keeps `envelope` for `left`, if its generation is the tenant's; answers with whether it is.
    pub(super) fn store(&self, key: &StatsKey, envelope: &Envelope, left: Duration) -> Cmd {
        let mut command = cmd("EVAL");
        command
            .arg(STORE)
            .arg(2)
            .arg(self.key(key.tenant(), "generation"))
            .arg(self.key(key.tenant(), key.as_str()))
            .arg(show_mark(envelope.generation.0))
            .arg(envelope.to_bytes().as_ref())
            .arg(milliseconds(left).max(1));
        command
    }

    /// Sets a generation of `era` in place of `seen`, unless another has been set or a fence stands;
    /// answers with the generation there is, if it may be used.
    pub(super) fn renew(&self, tenant: &TenantId, seen: &[u8], era: Era) -> Cmd {
        let mut command = self.script(RENEW, tenant, &[]);
        command
            .arg(seen)
            .arg(new_generation(era))
            .arg(milliseconds(GENERATION_LIFE));
        command
    }

    /// Lets `fence` stand for `life`, and sets a generation of `era`.
    pub(super) fn fence(&self, tenant: &TenantId, fence: &str, life: Duration, era: Era) -> Cmd {
        self.move_fence(tenant, fence, life, Duration::ZERO, era)
    }

    /// Takes `fence` down, whether it stands or not, bars it for as long as `bar`, and sets a
    /// generation of `era`.
    pub(super) fn release(&self, tenant: &TenantId, fence: &str, bar: Duration, era: Era) -> Cmd {
        self.move_fence(tenant, fence, Duration::ZERO, bar, era)
    }

    fn move_fence(
        &self,
        tenant: &TenantId,
        fence: &str,
        life: Duration,
        bar: Duration,
        era: Era,
    ) -> Cmd {
        let barred = self.key(tenant, format_args!("barred:{fence}"));
        let mut command = self.script(MOVE_FENCE, tenant, &[barred]);
        command
            .arg(fence)
            .arg(milliseconds(life))
            .arg(new_generation(era))
            .arg(milliseconds(GENERATION_LIFE))
            .arg(milliseconds(bar));
        command
    }

    /// Proclaims `era`.
    pub(super) fn proclaim(&self, era: Era) -> Cmd {
        set_mark(self.era_key(), era)
    }

    /// Writes nothing, but cannot be run by a Redis that takes no writes.
    pub(super) fn beat(&self) -> Cmd {
        let mut command = cmd("DEL");
        command.arg(format!("{}beat", self.prefix));
        command
    }

    /// Has whoever sees it forget everything but what is of the era `purge`.
    pub(super) fn set_purge(&self, purge: Era) -> Cmd {
        set_mark(self.purge_key(), purge)
    }

    /// The last purge.
    pub(super) fn purge(&self) -> Cmd {
        let mut command = cmd("GET");
        command.arg(self.purge_key());
        command
    }

    /// The era proclaimed last.
    pub(super) fn era(&self) -> Cmd {
        let mut command = cmd("GET");
        command.arg(self.era_key());
        command
    }

    /// Takes the right to compute `key` in generation `seen` for `holder`, unless it is taken.
    pub(super) fn lease(
        &self,
        key: &StatsKey,
        seen: Generation,
        holder: &str,
        life: Duration,
    ) -> Cmd {
        let mut command = cmd("SET");
        command
            .arg(self.lease_key(key, seen))
            .arg(holder)
            .arg("NX")
            .arg("PX")
            .arg(milliseconds(life));
        command
    }

    /// Gives that right back, if `holder` still has it.
    pub(super) fn end_lease(&self, key: &StatsKey, seen: Generation, holder: &str) -> Cmd {
        let mut command = cmd("EVAL");
        command
            .arg(END_LEASE)
            .arg(1)
            .arg(self.lease_key(key, seen))
            .arg(holder);
        command
    }

    /// Puts `key` on the list of keys until `until_ms`, and takes off what is over at `now_ms`.
    pub(super) fn list(&self, key: &StatsKey, now_ms: u64, until_ms: u64) -> Cmd {
        let mut command = cmd("EVAL");
        command
            .arg(LIST_KEY)
            .arg(1)
            .arg(self.list_key())
            .arg(now_ms)
            .arg(until_ms)
            .arg(listed_as(key));
        command
    }

    /// What is on the list of keys at `now_ms`: see [`parse_listed`].
    pub(super) fn listed(&self, now_ms: u64) -> Cmd {
        let mut command = cmd("ZRANGE");
        command
            .arg(self.list_key())
            .arg(now_ms)
            .arg("+inf")
            .arg("BYSCORE")
            .arg("LIMIT")
            .arg(0)
            .arg(MAX_LISTED);
        command
    }

    /// All keys of a tenant share a hash tag, and so lie on one node of a cluster.
    fn key(&self, tenant: &TenantId, name: impl Display) -> String {
        format!("{}{{{}}}:{name}", self.prefix, escaped(tenant))
    }

    /// A script about the generation and the fence of `tenant`, and about `more` of its keys.
    fn script(&self, text: &str, tenant: &TenantId, more: &[String]) -> Cmd {
        let mut command = cmd("EVAL");
        command
            .arg(text)
            .arg(2 + more.len())
            .arg(self.key(tenant, "generation"))
            .arg(self.key(tenant, "fence"))
            .arg(more);
        command
    }

    fn lease_key(&self, key: &StatsKey, seen: Generation) -> String {
        let name = format!("lease:{}:{}", show_mark(seen.0), key.as_str());
        self.key(key.tenant(), name)
    }

    fn era_key(&self) -> String {
        format!("{}era", self.prefix)
    }

    fn purge_key(&self) -> String {
        format!("{}purge", self.prefix)
    }

    fn list_key(&self) -> String {
        format!("{}keys", self.prefix)
    }
}

/// A key as [`Commands::list`] writes it. It has no space of its own.
fn listed_as(key: &StatsKey) -> String {
    format!("{} {}", key.as_str(), key.tenant().as_str())
}

fn set_mark(key: String, mark: Era) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(SET_MARK).arg(1).arg(key).arg(show_mark(mark.0));
    command
}

/// The key that [`Commands::list`] wrote.
pub(super) fn parse_listed(listed: &str) -> Option<StatsKey> {
    let (key, tenant) = listed.split_once(' ')?;
    Some(StatsKey::from_parts(key, &TenantId::parse(tenant).ok()?))
}

/// A mark that nobody else has made or will make: 64 random bits.
pub(super) fn new_mark() -> String {
    show_mark(rand::random())
}

fn show_mark(mark: u64) -> String {
    format!("{mark:016x}")
}

/// A generation's mark and its era, as they are kept.
fn new_generation(era: Era) -> String {
    new_mark() + &show_mark(era.0)
}

/// A generation and its era, unless it is damaged.
pub(super) fn parse_generation(kept: &[u8]) -> Option<(Generation, Era)> {
    let (mark, era) = kept.split_at_checked(MARK)?;
    Some((Generation(parse_mark(mark)?), Era(parse_mark(era)?)))
}

pub(super) fn parse_era(kept: &[u8]) -> Option<Era> {
    parse_mark(kept).map(Era)
}

fn parse_mark(mark: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(mark).ok()?;
    let is_mark = digits.len() == MARK && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_mark.then(|| u64::from_str_radix(digits, 16).ok())?
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_generation_is_read_as_it_was_written() {
        let era = Era::random();
        let written = new_generation(era);
        assert_eq!(parse_generation(written.as_bytes()).unwrap().1, era);
        assert_ne!(new_generation(era), written);
    }

    fn tenant() -> impl Strategy<Value = TenantId> {
        "[a:%{} é\u{2028}]{1,8}|\\PC{1,40}"
            .prop_filter_map("a tenant", |raw| TenantId::parse(&raw).ok())
    }

    proptest! {
        #[test]
        fn a_key_is_listed_with_its_tenant_whatever_that_is(tenant in tenant()) {
            let key = StatsKey::new("kind", &tenant, &[&"America/Recife"]);
            let listed = parse_listed(&listed_as(&key)).unwrap();
            prop_assert_eq!(listed.tenant(), &tenant);
            prop_assert_eq!(listed, key);
        }

        #[test]
        fn what_is_no_listed_key_is_none_or_a_key(listed: String) {
            if let Some(key) = parse_listed(&listed) {
                prop_assert_eq!(listed_as(&key), listed);
            }
        }

        #[test]
        fn a_hash_tag_is_the_tenants_alone(tenant in tenant(), other in tenant()) {
            let tag = |tenant| {
                let key = Commands::new("megastats:").key(tenant, "x");
                let (_, rest) = key.split_once('{').unwrap();
                let (tag, rest) = rest.split_once('}').unwrap();
                assert_eq!(rest, ":x");
                tag.to_owned()
            };
            prop_assert_eq!(tag(&tenant) == tag(&other), tenant == other);
        }

        #[test]
        fn what_is_no_era_of_ours_is_none(bytes: Vec<u8>) {
            prop_assume!(bytes.len() != MARK);
            prop_assert_eq!(parse_era(&bytes), None);
        }

        #[test]
        fn bytes_as_long_as_a_generation_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 2 * MARK)
        ) {
            let is_hexadecimal = bytes.iter().all(u8::is_ascii_hexdigit);
            prop_assert_eq!(parse_generation(&bytes).is_some(), is_hexadecimal);
        }

        #[test]
        fn what_is_no_generation_of_ours_is_none(bytes: Vec<u8>) {
            prop_assume!(bytes.len() != 2 * MARK);
            prop_assert_eq!(parse_generation(&bytes), None);
        }

        #[test]
        fn one_damaged_byte_never_becomes_the_same_generation(at in 0..2 * MARK, byte: u8) {
            let mut kept = new_generation(Era(7)).into_bytes();
            prop_assume!(!kept[at].eq_ignore_ascii_case(&byte));
            let whole = parse_generation(&kept);
            kept[at] = byte;
            prop_assert_ne!(parse_generation(&kept), whole);
        }
    }
}
