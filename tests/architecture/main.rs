//! The shape of the code: modules import only downwards and no files in a circle, each outside
//! crate stays in the files made for it, and one name stands for one type.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod source;

use std::collections::{BTreeMap, BTreeSet};

use source::Sources;

/// From the bottom up: a module may import those of earlier lines, and itself.
const LAYERS: [&[&str]; 11] = [
    &["identifier", "clock", "tasks", "text", "http"],
    &["tenant"],
    &["settings"],
    &["logging", "metrics", "db"],
    &["cache"],
    &["error"],
    &["input", "health"],
    &["auth"],
    &["stats"],
    &["appointments"],
    &["openapi", "dashboard"],
];

/// Above all layers.
const TOP: [&str; 5] = ["demo", "server", "lib", "main", "cli"];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The first part of a file's name: its module right below the crate's root.
fn module(file: &str) -> &str {
    file.split('/').next().unwrap()
}

#[test]
fn every_module_has_its_layer_and_imports_only_downwards() {
    for (file, imports) in Sources::read("src").imports() {
        let own = module(&file);
        if TOP.contains(&own) {
            continue;
        }
        let layer_of_own = layer(own).unwrap_or_else(|| panic!("{file} has no layer"));
        for import in imports.iter().filter(|import| module(import) != own) {
            assert!(
                layer(module(import)).is_some_and(|other| other < layer_of_own),
                "{file} imports {import}, which is not below it"
            );
        }
    }
}

/// Follows `imports` from `file`, to which `path` has led; returns the first circle it meets.
fn circle_from(
    file: &str,
    imports: &BTreeMap<String, BTreeSet<String>>,
    path: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(start) = path.iter().position(|earlier| earlier == file) {
        let mut circle = path.split_off(start);
        circle.push(file.to_owned());
        return Some(circle);
    }
    if done.contains(file) {
        return None;
    }
    path.push(file.to_owned());
    for import in imports.get(file).into_iter().flatten() {
        let circle = circle_from(import, imports, path, done);
        if circle.is_some() {
            return circle;
        }
    }
    path.pop();
    done.insert(file.to_owned());
    None
}

fn assert_no_circle(of_what: &str, imports: &BTreeMap<String, BTreeSet<String>>) {
    let mut done = BTreeSet::new();
    for file in imports.keys() {
        if let Some(circle) = circle_from(file, imports, &mut Vec::new(), &mut done) {
            panic!("{of_what} import in a circle: {}", circle.join(" -> "));
        }
    }
}

#[test]
fn no_files_import_in_a_circle() {
    assert_no_circle("files", &Sources::read("src").imports());
}

/// What `file` is called among the direct contents of `folder`: a file there, or a folder that holds
/// it. `None` for a file elsewhere.
fn part_of<'a>(folder: &str, file: &'a str) -> Option<&'a str> {
    let inside = match folder {
        "" => file,
        _ => file.strip_prefix(folder)?.strip_prefix('/')?,
    };
    inside.split('/').next()
}

#[test]
fn no_folders_import_in_a_circle() {
    let imports = Sources::read("src").imports();
    let folders: BTreeSet<&str> = imports
        .keys()
        .filter_map(|file| file.rsplit_once('/').map(|(folder, _)| folder))
        .chain([""])
        .collect();
    for folder in folders {
        let mut parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (file, imported) in &imports {
            let Some(part) = part_of(folder, file) else {
                continue;
            };
            let imported = imported
                .iter()
                .filter_map(|import| part_of(folder, import))
                .filter(|other| *other != part)
                .map(ToOwned::to_owned);
            parts.entry(part.to_owned()).or_default().extend(imported);
        }
        assert_no_circle(&format!("the parts of src/{folder}"), &parts);
    }
}

#[test]
fn one_name_stands_for_one_type() {
    let mut shared = Sources::read("src").types();
    shared.retain(|_name, files| files.len() > 1);
    assert!(shared.is_empty(), "names of several types: {shared:#?}");
}

/// Asserts that only files for which `allowed` says so name one of `crates`.
fn only_in(crates: &[&str], allowed: impl Fn(&str) -> bool) {
    for (file, names) in Sources::read("src").outside_crates() {
        if let Some(name) = crates.iter().find(|name| names.contains(**name)) {
            assert!(allowed(&file), "{file} names {name}");
        }
    }
}

/// A file's own name, without its folders.
fn last(file: &str) -> &str {
    file.rsplit('/').next().unwrap()
}

#[test]
fn http_stays_at_the_edges() {
    only_in(&["actix_web", "actix_cors"], |file| {
        last(file) == "http" || ["server", "error", "main"].contains(&module(file))
    });
    only_in(&["actix_http", "actix_server", "actix_service"], |file| {
        module(file) == "server"
    });
}

#[test]
fn descriptions_stay_beside_what_they_describe() {
    only_in(&["utoipa", "utoipa_swagger_ui"], |file| {
        // A model's, a body's and an error's derives say how their fields are sent.
        ["http", "openapi", "model", "body"].contains(&last(file))
            || ["openapi", "error"].contains(&module(file))
            || file == "db/status"
    });
}

#[test]
fn sql_stays_in_store_files_and_the_database_module() {
    only_in(&["diesel", "diesel_migrations"], |file| {
        // A model's derives say which columns it has.
        ["store", "model"].contains(&last(file)) || module(file) == "db"
    });
}

#[test]
fn tokens_are_checked_in_one_module() {
    only_in(&["jsonwebtoken"], |file| module(file) == "auth");
}

#[test]
fn what_reaches_postgresql_stays_in_the_database_module() {
    let crates = ["diesel_async", "tokio_postgres_rustls"];
    only_in(&crates, |file| module(file) == "db");
    only_in(&["tokio_postgres"], |file| {
        module(file) == "db" || file == "settings/postgres_url"
    });
}

#[test]
fn prometheus_stays_in_the_metrics_module() {
    only_in(&["prometheus"], |file| module(file) == "metrics");
}

#[test]
fn the_cache_knows_nothing_of_statistics() {
    let allowed = [
        "cache", "clock", "db", "metrics", "settings", "tasks", "tenant", "text",
    ];
    for (file, imports) in Sources::read("src").imports() {
        for import in imports.iter().filter(|_| module(&file) == "cache") {
            assert!(allowed.contains(&module(import)), "{file} imports {import}");
        }
    }
}

#[test]
fn every_file_opens_by_saying_what_lives_there() {
    for folder in ["src", "tests", "benches"] {
        for file in Sources::read(folder).all() {
            assert!(
                file.text.starts_with("//! "),
                "{folder}/{} has no header",
                file.name
            );
        }
    }
}
