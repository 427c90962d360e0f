//! Holds the files in `config/` to the settings there are.

use super::*;
use crate::settings::DatabaseUrl;

fn flat(table: &toml::Table, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(section) => keys.extend(flat(section, &format!("{prefix}{key}."))),
            _ => keys.push(format!("{prefix}{key}")),
        }
    }
    keys.sort();
    keys
}

#[test]
fn default_toml_has_every_key_and_no_other() {
    let settings = toml::Table::try_from(Settings::default()).unwrap();
    let file: toml::Table = toml::from_str(DEFAULTS).unwrap();
    assert_eq!(flat(&file, ""), flat(&settings, ""));
}

#[test]
fn default_toml_documents_the_range_and_the_unit_of_every_number() {
    let mut section = "";
    let mut comment = String::new();
    let mut checked = 0;
    for line in DEFAULTS.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name;
        } else if line.starts_with('#') {
            comment.push_str(line);
        } else if let Some((key, value)) = line.split_once(" = ") {
            if value.parse::<i64>().is_ok() {
                let name = variable(&format!("{section}.{key}"));
                let refused = Settings::load_from(None, [(name.into(), "-1".into())])
                    .unwrap_err()
                    .to_string();
                let (kind, range) = refused.rsplit_once(" from ").unwrap();
                let documented = comment.replace('#', "");
                let range = format!("from {range}");
                assert!(documented.contains(&range), "{section}.{key}: {range}");
                for unit in ["milliseconds", "seconds"] {
                    let (is, says) = (format!(" of {unit}"), format!(" in {unit}"));
                    assert_eq!(
                        kind.ends_with(&is),
                        documented.contains(&says),
                        "{section}.{key}"
                    );
                }
                checked += 1;
            }
            comment.clear();
        }
    }
    assert_eq!(checked, 23);
}

#[test]
fn production_toml_loads_over_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/production.toml");
    let settings = Settings::load_from(Some(&path), []).unwrap();
    assert_eq!(
        settings.database.url,
        DatabaseUrl::Sqlite("/var/lib/megastats/megastats.db".into())
    );
    assert!(settings.cors.allowed_origins.is_empty());
}
