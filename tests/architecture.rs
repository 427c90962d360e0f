//! The shape of the code: modules import only downwards, and each outside crate stays in the files
//! made for it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// From the bottom up: a module may import those of earlier lines, and itself.
const LAYERS: [&[&str]; 10] = [
    &["clock", "tenant", "tasks", "text"],
    &["settings"],
    &["logging", "metrics", "db"],
    &["cache"],
    &["error"],
    &["input", "health"],
    &["auth"],
    &["stats"],
    &["appointments"],
    &["openapi"],
];

/// Above all layers.
const TOP: [&str; 4] = ["server", "lib", "main", "cli"];

/// Files longer than this want a seam.
const MAX_LINES: usize = 410;

struct Source {
    /// Relative to `src`, without the ending: `stats/http`.
    name: String,
    text: String,
}

impl Source {
    fn module(&self) -> &str {
        self.name.split('/').next().unwrap()
    }

    fn file(&self) -> &str {
        self.name.rsplit('/').next().unwrap()
    }

    /// Test modules may reach for more.
    fn is_test(&self) -> bool {
        self.name.split('/').any(|part| part == "tests")
    }

    /// The code without comments and without the test module at its end.
    fn code(&self) -> String {
        let code = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The crate's modules that the code names: `crate::name`, also within `crate::{…}`.
    fn imports(&self) -> BTreeSet<String> {
        let code = self.code();
        let mut found = BTreeSet::new();
        for after in code.split("crate::").skip(1) {
            let Some(group) = after.strip_prefix('{') else {
                found.insert(leading_word(after));
                continue;
            };
            let mut depth = 0;
            let mut start = true;
            for (at, character) in group.char_indices() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if c.is_alphabetic() && depth == 0 && start => {
                        found.insert(leading_word(&group[at..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        }
        found.retain(|name| name.starts_with(|c: char| c.is_lowercase()));
        found
    }
}

fn leading_word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn files(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths = Vec::new();
    files(&root, &mut paths);
    assert!(!paths.is_empty());
    let name = |path: &Path| {
        let name = path.strip_prefix(&root).unwrap().with_extension("");
        name.to_str().unwrap().trim_end_matches("/mod").to_owned()
    };
    paths
        .iter()
        .map(|path| Source {
            name: name(path),
            text: fs::read_to_string(path).unwrap(),
        })
        .collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

#[test]
fn every_module_has_its_layer_and_imports_only_downwards() {
    for source in sources("src") {
        let module = source.module();
        if TOP.contains(&module) {
            continue;
        }
        let own = layer(module).unwrap_or_else(|| panic!("{} has no layer", source.name));
        for import in source.imports().iter().filter(|import| *import != module) {
            // A name of the crate's root that is no module is a macro or a re-export of one.
            let Some(other) = layer(import) else {
                panic!(
                    "{} imports {import}, which is above every layer",
                    source.name
                )
            };
            assert!(
                other < own,
                "{} imports {import}, which is not below it",
                source.name
            );
        }
    }
}

/// Asserts that only files for which `allowed` says so name one of `crates`.
fn only_in(crates: &[&str], allowed: impl Fn(&Source) -> bool) {
    for source in sources("src") {
        let code = source.code();
        let named = crates.iter().find(|name| {
            code.contains(&format!("{name}::")) || code.contains(&format!("use {name}"))
        });
        if let Some(name) = named {
            assert!(
                source.is_test() || allowed(&source),
                "{} names {name}",
                source.name
            );
        }
    }
}

#[test]
fn http_stays_at_the_edges() {
    only_in(&["actix_web", "actix_cors"], |source| {
        source.file() == "http" || ["server", "error", "main"].contains(&source.module())
    });
    only_in(&["actix_http", "actix_server", "actix_service"], |source| {
        source.module() == "server"
    });
}

#[test]
fn descriptions_stay_beside_what_they_describe() {
    only_in(&["utoipa", "utoipa_swagger_ui"], |source| {
        // A model's, a body's and an error's derives say how their fields are sent.
        ["http", "openapi", "model", "body"].contains(&source.file())
            || ["openapi", "error"].contains(&source.module())
            || source.name == "db/status"
    });
}

#[test]
fn sql_stays_in_store_files_and_the_database_module() {
    only_in(&["diesel", "diesel_migrations"], |source| {
        // A model's derives say which columns it has.
        ["store", "model"].contains(&source.file()) || source.module() == "db"
    });
}

#[test]
fn tokens_are_checked_in_one_module() {
    only_in(&["jsonwebtoken"], |source| source.module() == "auth");
}

#[test]
fn what_reaches_postgresql_stays_in_the_database_module() {
    let crates = ["diesel_async", "tokio_postgres_rustls"];
    only_in(&crates, |source| source.module() == "db");
    only_in(&["tokio_postgres"], |source| {
        source.module() == "db" || source.name == "settings/postgres_url"
    });
}

#[test]
fn prometheus_stays_in_the_metrics_module() {
    only_in(&["prometheus"], |source| source.module() == "metrics");
}

#[test]
fn the_cache_knows_nothing_of_statistics() {
    for source in sources("src")
        .iter()
        .filter(|source| source.module() == "cache")
    {
        let allowed = ["cache", "clock", "metrics", "settings", "tasks", "tenant"];
        for import in source.imports() {
            assert!(
                allowed.contains(&import.as_str()),
                "{} imports {import}",
                source.name
            );
        }
    }
}

#[test]
fn every_file_opens_by_saying_what_lives_there_and_is_short() {
    for folder in ["src", "tests", "benches"] {
        for source in sources(folder) {
            assert!(
                source.text.starts_with("//! "),
                "{folder}/{} has no header",
                source.name
            );
            let lines = source.text.lines().count();
            assert!(
                lines <= MAX_LINES,
                "{folder}/{} has {lines} lines",
                source.name
            );
        }
    }
}
