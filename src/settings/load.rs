//! Where values come from: the built-in defaults, then a file, then the environment; and naming the
//! place of a fault.

use std::{collections::BTreeMap, env, ffi::OsString, fs, path::Path};

use config::{Config, ConfigError, File, FileFormat, Map, Source, Value, ValueKind};

use super::{Settings, error::SettingsError};
use crate::text::one_line;

const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What every variable of the environment that is meant for this program begins with. With one
/// underscore, so that a setting spelt with too few is refused rather than ignored.
const VARIABLE_PREFIX: &str = "MEGASTATS_";

const SPELLING: &str = "the spelling is MEGASTATS__SECTION__KEY";

/// Every setting by its dotted key, and its value in one of the places that values come from.
type Values = BTreeMap<String, Value>;

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
        let defaults = File::from_str(DEFAULTS, FileFormat::Toml);
        let known = defaults
            .collect()
            .map_err(|error| fault(error, "the defaults", &Values::new()))?;
        let known = leaves(&known);
        let variables = read_environment(environment, &known)?;
        let name = file.map_or_else(String::new, |path| one_line(&path.display().to_string()));
        let fault = |error| fault(error, &name, &variables);

        let mut layers = Config::builder().add_source(defaults);
        if let Some(path) = file {
            let text = read_file(path, &name, &known)?;
            layers = layers.add_source(File::from_str(&text, FileFormat::Toml));
        }
        for (key, value) in &variables {
            layers = layers.set_override(key, value.clone()).map_err(fault)?;
        }
        let merged = layers.build().map_err(fault)?;
        merged
            .try_deserialize()
            .map_err(fault)
            .and_then(Self::check)
    }
}

impl Default for Settings {
    /// The defaults alone, whatever the environment says.
    fn default() -> Self {
        Self::load_from(None, []).expect("config/default.toml is valid")
    }
}

/// The text of the config file, which is TOML and has no other keys than those that are known.
fn read_file(path: &Path, name: &str, known: &Values) -> Result<String, SettingsError> {
    let text = fs::read_to_string(path)
        .map_err(|error| SettingsError(format!("cannot read the config file {name}: {error}")))?;
    check_syntax(name, &text)?;
    let values = File::from_str(&text, FileFormat::Toml).collect();
    let values = leaves(&values.map_err(|error| fault(error, name, &Values::new()))?);
    match values.keys().find(|key| !known.contains_key(*key)) {
        None => Ok(text),
        Some(key) => {
            let hint = hint(key, known, str::to_owned);
            Err(unknown(key, name, &hint))
        }
    }
}

/// Refuses what is not a setting: a key of the config file, or a variable of the environment.
fn unknown(name: &str, origin: &str, hint: &str) -> SettingsError {
    let name = one_line(name);
    SettingsError(format!("{name} in {origin} is not a setting: {hint}"))
}

/// Refuses what is not TOML. `config` neither says where an integer is too large, nor where a line is
/// wrong without showing the line.
fn check_syntax(file: &str, text: &str) -> Result<(), SettingsError> {
    let Err(error) = toml::from_str::<toml::Table>(text) else {
        return Ok(());
    };
    let position = error.span().map_or(0, |span| span.start);
    let before = text.get(..position).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    // The text of the line is not shown, since it may hold a secret.
    let problem = one_line(error.message());
    Err(SettingsError(format!(
        "{file}, line {line}, column {column}: {problem}"
    )))
}

/// Every key of `table` by its dotted name.
fn leaves(table: &Map<String, Value>) -> Values {
    let mut found = Values::new();
    for (key, value) in table {
        match &value.kind {
            ValueKind::Table(section) => {
                let inner = leaves(section).into_iter();
                found.extend(inner.map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            _ => drop(found.insert(key.clone(), value.clone())),
        }
    }
    found
}

/// The settings that variables of `environment` have; those of other programs are left alone.
fn read_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    known: &Values,
) -> Result<Values, SettingsError> {
    let variables: BTreeMap<_, _> = known.keys().map(|key| (variable(key), key)).collect();
    let mut ours = Values::new();
    for (name, text) in environment.into_iter().collect::<BTreeMap<_, _>>() {
        let name = name.to_string_lossy().into_owned();
        let start = name.get(..VARIABLE_PREFIX.len()).unwrap_or_default();
        if !start.eq_ignore_ascii_case(VARIABLE_PREFIX) {
            continue;
        }
        let Some(&key) = variables.get(&name) else {
            let hint = format!("{} ({SPELLING})", hint(&name, known, variable));
            return Err(unknown(&name, "the environment", &hint));
        };
        let text = text.into_string().map_err(|_| {
            invalid(
                key,
                &origin_of(key),
                "given bytes that are not UTF-8, allowed is UTF-8",
            )
        })?;
        ours.insert(key.clone(), read_as(&known[key].kind, &text).into());
    }
    Ok(ours)
}

/// How messages name the variable that sets `key`.
fn origin_of(key: &str) -> String {
    format!("the environment ({})", variable(key))
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
fn hint(name: &str, known: &Values, spell: impl Fn(&str) -> String) -> String {
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

/// Names the key that `error` is about, and where its value came from: one of `variables`, or else the
/// file, since the defaults have no fault.
fn fault(error: ConfigError, file: &str, variables: &Values) -> SettingsError {
    let (key, problem) = match error {
        ConfigError::At {
            error,
            key: Some(key),
            ..
        } => (key, error.to_string()),
        other => ("settings".into(), other.to_string()),
    };
    let origin = if variables.contains_key(&key) {
        origin_of(&key)
    } else {
        file.into()
    };
    invalid(&key, &origin, &one_line(&problem))
}

/// Refuses the value of `key`, which came from `origin`.
fn invalid(key: &str, origin: &str, problem: &str) -> SettingsError {
    SettingsError(format!("{key} in {origin}: {problem}"))
}

#[cfg(test)]
mod tests;
