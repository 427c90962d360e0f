//! Where values come from: the built-in defaults, then a file, then the environment; and naming
//! the place of a fault. Not here: what a value may be (`value`).

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs,
    path::Path,
};

use config::{Config, ConfigError, FileFormat, Format, Map, Source, Value, ValueKind};

use super::{Settings, error::SettingsError};
use crate::text::one_line;

const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What every variable of the environment that is meant for this program begins with. With one
/// underscore, so that a setting spelt with too few is refused rather than ignored.
const VARIABLE_PREFIX: &str = "MEGASTATS_";

const SPELLING: &str = "the spelling is MEGASTATS__SECTION__KEY";

type Table = Map<String, Value>;

impl Settings {
    /// Reads `file`, where one is given, and then this process's environment over the defaults.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        Self::load_from(file, env::vars_os())
    }

    /// As [`Settings::load`], with the variables of `environment`.
    pub fn load_from(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        let defaults = parse("config/default.toml", DEFAULTS)?;
        let known = leaves(&defaults);

        let mut layers = Config::builder().add_source(Layer(defaults.clone()));
        if let Some(path) = file {
            layers = layers.add_source(Layer(read_file(path, &defaults, &known)?));
        }
        layers = layers.add_source(Layer(read_environment(environment, &known)?));

        let merged = layers
            .build()
            .map_err(|error| fault(error, &Value::default()))?;
        let values = merged.cache.clone();
        merged
            .try_deserialize()
            .map_err(|error| fault(error, &values))
            .and_then(Self::check)
    }
}

impl Default for Settings {
    /// The defaults alone, whatever the environment says.
    fn default() -> Self {
        Self::load_from(None, []).expect("config/default.toml is valid")
    }
}

/// One source of values, already checked to hold known keys only.
#[derive(Debug, Clone)]
struct Layer(Table);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Table, ConfigError> {
        Ok(self.0.clone())
    }
}

fn read_file(
    path: &Path,
    defaults: &Table,
    known: &BTreeMap<String, Value>,
) -> Result<Table, SettingsError> {
    let file = one_line(&path.display().to_string());
    let text = fs::read_to_string(path).map_err(|source| SettingsError::Unreadable {
        file: file.clone(),
        source,
    })?;
    let table = parse(&file, &text)?;
    check_keys(&table, defaults, "", &file, known)?;
    Ok(table)
}

fn parse(file: &str, text: &str) -> Result<Table, SettingsError> {
    // `config`'s own parser neither says where an integer is too large, nor where a line is wrong
    // without showing the line.
    let syntax = |position: usize, problem: &str| {
        let before = text.get(..position).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        SettingsError::Syntax {
            file: file.into(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem: one_line(problem),
        }
    };
    toml::from_str::<toml::Table>(text)
        .map_err(|error| syntax(error.span().map_or(0, |span| span.start), error.message()))?;
    FileFormat::Toml
        .parse(Some(&file.into()), text)
        .map_err(|_| syntax(0, "not understood as settings"))
}

/// Every key of `table` by its dotted name.
fn leaves(table: &Table) -> BTreeMap<String, Value> {
    fn walk(table: &Table, prefix: &str, found: &mut BTreeMap<String, Value>) {
        for (key, value) in table {
            match &value.kind {
                ValueKind::Table(section) => walk(section, &format!("{prefix}{key}."), found),
                _ => drop(found.insert(format!("{prefix}{key}"), value.clone())),
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(table, "", &mut found);
    found
}

fn check_keys(
    given: &Table,
    allowed: &Table,
    prefix: &str,
    file: &str,
    known: &BTreeMap<String, Value>,
) -> Result<(), SettingsError> {
    // In order, so that the same file is always refused for the same key.
    for (key, value) in given.iter().collect::<BTreeMap<_, _>>() {
        let dotted = format!("{prefix}{key}");
        let Some(expected) = allowed.get(key) else {
            return Err(unknown_key(&dotted, value, file, known));
        };
        let problem = match (&expected.kind, &value.kind) {
            (ValueKind::Table(allowed), ValueKind::Table(section)) => {
                check_keys(section, allowed, &format!("{dotted}."), file, known)?;
                continue;
            }
            (ValueKind::Table(_), _) => {
                format!("given a value, allowed is a section: [{dotted}]")
            }
            (_, ValueKind::Table(_)) => {
                format!("given a section, allowed is a value: {key} = …")
            }
            _ => continue,
        };
        return Err(SettingsError::Invalid {
            key: dotted,
            origin: file.into(),
            problem,
        });
    }
    Ok(())
}

fn unknown_key(
    dotted: &str,
    value: &Value,
    file: &str,
    known: &BTreeMap<String, Value>,
) -> SettingsError {
    let inner = match &value.kind {
        ValueKind::Table(section) => leaves(section).into_keys().next(),
        _ => None,
    };
    let name = inner.map_or_else(|| dotted.to_owned(), |key| format!("{dotted}.{key}"));
    SettingsError::Unknown {
        hint: hint(&name, known, str::to_owned),
        name: one_line(&name),
        origin: file.into(),
    }
}

fn read_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    known: &BTreeMap<String, Value>,
) -> Result<Table, SettingsError> {
    let variables: BTreeMap<_, _> = known.keys().map(|key| (variable(key), key)).collect();
    let mut table = Table::new();
    for (name, text) in environment.into_iter().collect::<BTreeMap<_, _>>() {
        let Some(name) = meant_for_us(&name) else {
            continue;
        };
        let Some(&key) = variables.get(&name) else {
            return Err(SettingsError::Unknown {
                hint: format!("{} ({SPELLING})", hint(&name, known, variable)),
                name: one_line(&name),
                origin: "the environment".into(),
            });
        };
        let origin = format!("the environment ({name})");
        let Some(text) = text.to_str() else {
            return Err(SettingsError::Invalid {
                key: key.clone(),
                origin,
                problem: "given bytes that are not UTF-8, allowed is UTF-8".into(),
            });
        };
        table.insert(
            key.clone(),
            Value::new(Some(&origin), read_as(&known[key].kind, text)),
        );
    }
    Ok(table)
}

/// The name of a variable that is meant for this program, spelt right or wrong.
fn meant_for_us(name: &OsStr) -> Option<String> {
    let name = name.to_string_lossy();
    let begins = name
        .get(..VARIABLE_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(VARIABLE_PREFIX));
    begins.then(|| name.into_owned())
}

/// The variable that sets `key`.
fn variable(key: &str) -> String {
    format!("MEGASTATS__{}", key.replace('.', "__").to_ascii_uppercase())
}

/// Gives a variable's text the type that the default has. Text that cannot have it stays text,
/// for `value` to refuse.
fn read_as(default: &ValueKind, text: &str) -> ValueKind {
    match default {
        ValueKind::I64(_) => text
            .parse::<i64>()
            .map_or_else(|_| text.into(), ValueKind::I64),
        ValueKind::Boolean(_) => text
            .parse::<bool>()
            .map_or_else(|_| text.into(), ValueKind::Boolean),
        ValueKind::Array(_) if text.trim().is_empty() => ValueKind::Array(Vec::new()),
        ValueKind::Array(_) => text.split(',').map(str::trim).collect::<Vec<_>>().into(),
        _ => text.into(),
    }
}

/// What may have been meant by `name`: the shortest known key that has all its words, or else the
/// keys there are.
fn hint(name: &str, known: &BTreeMap<String, Value>, spell: impl Fn(&str) -> String) -> String {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let mut given = words(name);
    given.retain(|word| word != "megastats");
    let has_all = |key: &&String| {
        let key = words(key);
        given
            .iter()
            .all(|word| key.iter().any(|known| known.starts_with(word.as_str())))
    };
    let likely = known.keys().filter(has_all).min_by_key(|key| key.len());
    if let (Some(key), false) = (likely, given.is_empty()) {
        return format!("did you mean {}?", spell(key));
    }
    let in_section = |key: &&String| key.split('.').next() == given.first().map(String::as_str);
    let section: Vec<_> = known.keys().filter(in_section).collect();
    let listed = if section.is_empty() {
        known.keys().collect()
    } else {
        section
    };
    let listed: Vec<_> = listed.into_iter().map(|key| spell(key)).collect();
    format!("there are {}", listed.join(", "))
}

/// Names the key that `error` is about, and the layer its value came from.
fn fault(error: ConfigError, merged: &Value) -> SettingsError {
    let (key, problem) = match error {
        ConfigError::At {
            error,
            key: Some(key),
            ..
        } => (key, error.to_string()),
        other => ("settings".into(), other.to_string()),
    };
    let origin = key
        .split('.')
        .try_fold(merged, |value, segment| match &value.kind {
            ValueKind::Table(table) => table.get(segment),
            _ => None,
        })
        .and_then(Value::origin);
    SettingsError::Invalid {
        origin: origin.unwrap_or("the settings").into(),
        problem: one_line(&problem),
        key,
    }
}

#[cfg(test)]
mod shipped_files;
#[cfg(test)]
mod tests;
