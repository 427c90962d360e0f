//! The commands that are sent to Redis, and the names of the keys in it.

use std::{fmt::Display, time::Duration};

use percent_encoding::percent_decode_str;
use redis::{Cmd, ExistenceCheck, SetExpiry, SetOptions, cmd};

use super::{
    envelope::Envelope,
    era::Era,
    pending::WriteFence,
    scripts::{END_LEASE, HEARTBEAT, MOVE_FENCE, REPLACE_GENERATION, SET_MARK, STORE},
};
use crate::{
    cache::{Generation, StatsKey, key::escaped},
    tenant::TenantId,
};

/// How much longer than an entry Redis keeps a generation: longer than any computation. A lookup that
/// finds none sets another.
const GENERATION_MARGIN: Duration = Duration::from_secs(90);

/// About how many keys a master looks at for a list of entries. It takes Redis a few milliseconds.
const MAX_SCANNED_KEYS: usize = 10_000;

/// How the names of a tenant's keys begin that are not entries.
const LEASE: &str = "lease:";
const BARRED: &str = "barred:";

/// Hexadecimal digits of a mark.
const MARK_DIGITS: usize = 16;

/// Makes commands for keys with one prefix.
pub(super) struct Commands {
    prefix: String,
    generation_life: Duration,
}

impl Commands {
    /// Commands for keys that begin with `prefix`, and entries that live for `entry_life`.
    pub(super) fn new(prefix: &str, entry_life: Duration) -> Self {
        Self {
            prefix: prefix.to_owned(),
            generation_life: entry_life + GENERATION_MARGIN,
        }
    }

    /// Reads generation, fence and entry of each key, in this order. The three of one key are of one moment.
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

    /// Stores `envelope` for `left` if its generation is the tenant's, and ends the lease of `holder` on
    /// it in any case.
    pub(super) fn store(
        &self,
        key: &StatsKey,
        envelope: &Envelope,
        left: Duration,
        holder: &str,
    ) -> Cmd {
        cmd("EVAL")
            .arg(STORE)
            .arg(3)
            .arg(self.key(key.tenant(), "generation"))
            .arg(self.key(key.tenant(), key.as_str()))
            .arg(self.lease_key(key, envelope.generation))
            .arg(show_mark(envelope.generation.0))
            .arg(envelope.to_bytes().as_ref())
            .arg(milliseconds(left).max(1))
            .arg(milliseconds(self.generation_life))
            .arg(holder)
            .take()
    }

    /// Replaces the generation `seen` by one of `era`, unless another one has been set or a fence is
    /// raised. Answers with the generation that is current then, if there is no fence.
    pub(super) fn replace_generation(&self, tenant: &TenantId, seen: &[u8], era: Era) -> Cmd {
        self.script(REPLACE_GENERATION, tenant, &[])
            .arg(seen)
            .arg(new_generation(era))
            .arg(milliseconds(self.generation_life))
            .take()
    }

    /// Raises `fence` for `life`, and sets a new generation of `era`.
    pub(super) fn fence(&self, fence: &WriteFence, life: Duration, era: Era) -> Cmd {
        self.move_fence(fence, life, Duration::ZERO, era)
    }

    /// Releases `fence`, whether it is raised or not, forbids to raise it for as long as `bar`, and sets
    /// a new generation of `era`.
    pub(super) fn release(&self, fence: &WriteFence, bar: Duration, era: Era) -> Cmd {
        self.move_fence(fence, Duration::ZERO, bar, era)
    }

    fn move_fence(&self, fence: &WriteFence, life: Duration, bar: Duration, era: Era) -> Cmd {
        let WriteFence { tenant, id } = fence;
        let barred = self.key(tenant, format_args!("{BARRED}{id}"));
        self.script(MOVE_FENCE, tenant, &[barred])
            .arg(id)
            .arg(milliseconds(life))
            .arg(new_generation(era))
            .arg(milliseconds(self.generation_life))
            .arg(milliseconds(bar))
            .take()
    }

    /// Makes `era` the current one.
    pub(super) fn set_era(&self, era: Era) -> Cmd {
        set_mark(self.common_key("era"), era)
    }

    /// Changes nothing, but a master that accepts no writes refuses it.
    pub(super) fn heartbeat_to_masters() -> Cmd {
        cmd("EVAL").arg(HEARTBEAT).arg(0).take()
    }

    /// Changes nothing, but is refused if this instance may not do all that invalidations need.
    pub(super) fn heartbeat(&self) -> Cmd {
        let key = self.common_key("heartbeat");
        cmd("EVAL").arg(HEARTBEAT).arg(1).arg(key).take()
    }

    /// Stores the test entry `mark` for `life`.
    pub(super) fn store_test_entry(&self, mark: &str, life: Duration) -> Cmd {
        let key = self.common_key(format_args!("test:{mark}"));
        Cmd::set_options(key, mark, lasting(life))
    }

    /// Reads the test entry `mark`.
    pub(super) fn get_test_entry(&self, mark: &str) -> Cmd {
        cmd("GET")
            .arg(self.common_key(format_args!("test:{mark}")))
            .take()
    }

    /// Makes every instance trust nothing from before the era `purge`.
    pub(super) fn set_purge(&self, purge: Era) -> Cmd {
        set_mark(self.common_key("purge"), purge)
    }

    /// Reads the last purge.
    pub(super) fn get_purge(&self) -> Cmd {
        cmd("GET").arg(self.common_key("purge")).take()
    }

    /// Reads the current era.
    pub(super) fn get_era(&self) -> Cmd {
        cmd("GET").arg(self.common_key("era")).take()
    }

    /// Gives `holder` the lease to compute `key` in generation `seen`, unless it is taken.
    pub(super) fn lease(
        &self,
        key: &StatsKey,
        seen: Generation,
        holder: &str,
        life: Duration,
    ) -> Cmd {
        let only_if_free = lasting(life).conditional_set(ExistenceCheck::NX);
        Cmd::set_options(self.lease_key(key, seen), holder, only_if_free)
    }

    /// Ends that lease, if `holder` still has it.
    pub(super) fn end_lease(&self, key: &StatsKey, seen: Generation, holder: &str) -> Cmd {
        cmd("EVAL")
            .arg(END_LEASE)
            .arg(1)
            .arg(self.lease_key(key, seen))
            .arg(holder)
            .take()
    }

    /// Asks a master for the names of keys that may be entries, and looks at about
    /// [`MAX_SCANNED_KEYS`] keys for them: see [`Commands::parse_entry_key`].
    pub(super) fn scan_entries(&self) -> Cmd {
        cmd("SCAN")
            .arg(0)
            .arg("MATCH")
            .arg(format!("{}{{*}}:*:*", escape_glob(&self.prefix)))
            .arg("COUNT")
            .arg(MAX_SCANNED_KEYS)
            .take()
    }

    /// The key of the entry that Redis stores as `name`; `None` if it is not an entry.
    pub(super) fn parse_entry_key(&self, name: &[u8]) -> Option<StatsKey> {
        let name = std::str::from_utf8(name).ok()?;
        let tagged = name.strip_prefix(&self.prefix)?.strip_prefix('{')?;
        let (tag, key) = tagged.split_once("}:")?;
        let is_other = key.starts_with(LEASE) || key.starts_with(BARRED);
        let tenant = percent_decode_str(tag).decode_utf8().ok()?;
        let tenant = TenantId::parse(&tenant).ok()?;
        (!is_other).then(|| StatsKey::from_parts(key, &tenant))
    }

    /// All keys of a tenant share a hash tag, so that they lie on one node of a cluster.
    fn key(&self, tenant: &TenantId, name: impl Display) -> String {
        format!("{}{{{}}}:{name}", self.prefix, escaped(tenant))
    }

    /// Runs a script with the generation, the fence and `more` keys of `tenant`.
    fn script(&self, text: &str, tenant: &TenantId, more: &[String]) -> Cmd {
        cmd("EVAL")
            .arg(text)
            .arg(2 + more.len())
            .arg(self.key(tenant, "generation"))
            .arg(self.key(tenant, "fence"))
            .arg(more)
            .take()
    }

    fn lease_key(&self, key: &StatsKey, seen: Generation) -> String {
        let name = format!("{LEASE}{}:{}", show_mark(seen.0), key.as_str());
        self.key(key.tenant(), name)
    }

    /// A key that no tenant has.
    fn common_key(&self, name: impl Display) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Has a value end by itself after `life`.
fn lasting(life: Duration) -> SetOptions {
    SetOptions::default().with_expiration(SetExpiry::PX(milliseconds(life)))
}

fn set_mark(key: String, mark: Era) -> Cmd {
    cmd("EVAL")
        .arg(SET_MARK)
        .arg(1)
        .arg(key)
        .arg(show_mark(mark.0))
        .take()
}

/// A pattern that matches `text` and nothing else.
fn escape_glob(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, character| {
        if "*?[]^-\\".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
        escaped
    })
}

/// A mark that is made only once: 64 random bits.
pub(super) fn new_mark() -> String {
    show_mark(rand::random())
}

fn show_mark(mark: u64) -> String {
    format!("{mark:016x}")
}

/// A new generation as Redis stores it: its mark and its era.
fn new_generation(era: Era) -> String {
    new_mark() + &show_mark(era.0)
}

/// Reads a generation and its era; `None` if it is damaged.
pub(super) fn parse_generation(kept: &[u8]) -> Option<(Generation, Era)> {
    let (mark, era) = kept.split_at_checked(MARK_DIGITS)?;
    Some((Generation(parse_mark(mark)?), Era(parse_mark(era)?)))
}

pub(super) fn parse_era(kept: &[u8]) -> Option<Era> {
    parse_mark(kept).map(Era)
}

fn parse_mark(mark: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(mark).ok()?;
    // A number may also have a sign.
    let is_mark = digits.len() == MARK_DIGITS && !digits.starts_with('+');
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
        fn the_name_of_an_entry_tells_its_key_and_its_tenant(tenant in tenant()) {
            let commands = Commands::new("megastats:", Duration::ZERO);
            let key = StatsKey::new("kind", &tenant, &[&"America/Recife"]);
            let name = commands.key(&tenant, key.as_str());
            let parsed = commands.parse_entry_key(name.as_bytes()).unwrap();
            prop_assert_eq!(parsed.tenant(), &tenant);
            prop_assert_eq!(parsed, key);
        }

        #[test]
        fn only_the_names_of_entries_are_read_as_keys(tenant in tenant(), other: Vec<u8>) {
            let commands = Commands::new("megastats:", Duration::ZERO);
            let key = StatsKey::new("kind", &tenant, &[]);
            let lease = commands.lease_key(&key, Generation(7));
            let barred = commands.key(&tenant, format_args!("{BARRED}id"));
            for name in [lease.as_bytes(), barred.as_bytes(), b"megastats:era", &other] {
                prop_assert_eq!(commands.parse_entry_key(name), None);
            }
        }

        #[test]
        fn a_hash_tag_is_the_tenants_alone(tenant in tenant(), other in tenant()) {
            let tag = |tenant| {
                let key = Commands::new("megastats:", Duration::ZERO).key(tenant, "x");
                let (_, rest) = key.split_once('{').unwrap();
                let (tag, rest) = rest.split_once('}').unwrap();
                assert_eq!(rest, ":x");
                tag.to_owned()
            };
            prop_assert_eq!(tag(&tenant) == tag(&other), tenant == other);
        }

        #[test]
        fn what_is_no_era_of_ours_is_none(bytes: Vec<u8>) {
            prop_assume!(bytes.len() != MARK_DIGITS);
            prop_assert_eq!(parse_era(&bytes), None);
        }

        #[test]
        fn bytes_as_long_as_a_generation_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 2 * MARK_DIGITS)
        ) {
            let is_hexadecimal = bytes.iter().all(u8::is_ascii_hexdigit);
            prop_assert_eq!(parse_generation(&bytes).is_some(), is_hexadecimal);
        }

        #[test]
        fn what_is_no_generation_of_ours_is_none(bytes: Vec<u8>) {
            prop_assume!(bytes.len() != 2 * MARK_DIGITS);
            prop_assert_eq!(parse_generation(&bytes), None);
        }

        #[test]
        fn one_damaged_byte_never_becomes_the_same_generation(at in 0..2 * MARK_DIGITS, byte: u8) {
            let mut kept = new_generation(Era(7)).into_bytes();
            prop_assume!(!kept[at].eq_ignore_ascii_case(&byte));
            let whole = parse_generation(&kept);
            kept[at] = byte;
            prop_assert_ne!(parse_generation(&kept), whole);
        }
    }
}
