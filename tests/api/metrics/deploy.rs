//! The dashboard, the alerts, the documentation and compose ask for what a running service shows.

use std::{collections::BTreeSet, fs, path::Path};

use harness::Exposition;
use megastats::settings::RedisUrl;
use serde_json::Value;

use super::{scrape, service};

/// What Prometheus adds to every sample.
const TARGET_LABELS: [&str; 2] = ["instance", "job"];

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(path)).unwrap()
}

fn json(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap()
}

fn items(list: &Value) -> &[Value] {
    list.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

const DASHBOARD: &str = "deploy/grafana/dashboards/megastats.json";

fn panels() -> Vec<Value> {
    let dashboard = json(DASHBOARD);
    let panels = items(&dashboard["panels"]).iter();
    panels
        .filter(|panel| panel["type"] != "row")
        .cloned()
        .collect()
}

/// Every query of the dashboard.
fn queries() -> Vec<String> {
    let targets = panels()
        .into_iter()
        .flat_map(|panel| items(&panel["targets"]).to_vec());
    targets
        .map(|target| text(&target["expr"]).to_owned())
        .collect()
}

fn alerts() -> Vec<Value> {
    let rules = yaml("deploy/alerts.yml");
    let groups = items(&rules["groups"]).iter();
    groups
        .flat_map(|group| items(&group["rules"]).to_vec())
        .collect()
}

/// A service that shows every metric there is: it reads from its memory, and tells Redis.
async fn everything() -> Exposition {
    let server = service()
        .settings(|settings| {
            settings.cache.redis.url = RedisUrl::parse("redis://127.0.0.1:1").unwrap();
        })
        .start_at_once();
    server.mega_stats("clinic").await;
    scrape(&server).await
}

/// A metric that a query names, and the `label="value"`s it asks for; the value is nothing if it
/// is not compared by `=`.
#[derive(Debug, PartialEq, Eq)]
struct Selector {
    name: String,
    labels: Vec<(String, Option<String>)>,
}

/// The selectors of a `PromQL` expression.
fn selectors(query: &str) -> Vec<Selector> {
    const WORDS: [&str; 10] = [
        "and",
        "bool",
        "by",
        "group_left",
        "group_right",
        "ignoring",
        "offset",
        "on",
        "or",
        "without",
    ];
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (mut found, mut rest) = (Vec::new(), query);
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '[' || c == '(') {
        // A duration.
        if let Some(after) = rest[start..].strip_prefix('[') {
            rest = after.split_once(']').unwrap().1;
            continue;
        }
        if rest[start..].starts_with('(') {
            rest = &rest[start + 1..];
            continue;
        }
        let name = &rest[start..];
        let (name, after) = name.split_at(name.find(|c| !part_of_name(c)).unwrap_or(name.len()));
        let (next, is_word) = (after.trim_start(), WORDS.contains(&name));
        rest = after;
        if is_word {
            // Its labels are no metrics.
            if ["by", "without", "on", "ignoring"].contains(&name) {
                rest = next.split_once(')').unwrap().1;
            }
        } else if let Some(matchers) = after.strip_prefix('{') {
            let (matchers, after) = matchers.split_once('}').unwrap();
            rest = after;
            found.push(selector(name, matchers));
        } else if !next.starts_with('(') && !next.starts_with("by") {
            found.push(selector(name, ""));
        }
    }
    found
}

fn selector(name: &str, matchers: &str) -> Selector {
    let matchers = matchers.split(',').filter(|matcher| !matcher.is_empty());
    let labels = matchers.map(|matcher| {
        let (label, value) = matcher.split_once('=').unwrap();
        let value = value.strip_prefix('"').map(|value| value.trim_matches('"'));
        let value = value.filter(|_| !label.ends_with('!')).map(str::to_owned);
        (label.trim_end_matches('!').to_owned(), value)
    });
    Selector {
        name: name.to_owned(),
        labels: labels.collect(),
    }
}

#[test]
fn selectors_are_found_in_expressions() {
    let found = selectors(
        r#"sum by (le, x) (rate(a:b{c="d",e=~"f",g!="h"}[5m])) / ignoring(x) up > 0.5 or vector(0)"#,
    );
    let label = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    let labels = vec![label("c", Some("d")), label("e", None), label("g", None)];
    let expected = [
        Selector {
            name: "a:b".into(),
            labels,
        },
        selector("up", ""),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_metrics_and_labels_that_there_are() {
    let metrics = everything().await;
    let alerts = alerts();
    let asked = alerts.iter().map(|alert| text(&alert["expr"]).to_owned());
    let (mut seen, names) = (BTreeSet::new(), metrics.names());
    for query in queries().into_iter().chain(asked) {
        let selectors = selectors(&query);
        assert!(!selectors.is_empty(), "{query}");
        for Selector { name, labels } in selectors {
            if name == "up" {
                continue;
            }
            assert!(names.contains(name.as_str()), "{name} of {query}");
            let own = |series: &&String| series.split('{').next() == Some(name.as_str());
            for (label, value) in labels {
                if TARGET_LABELS.contains(&label.as_str()) {
                    continue;
                }
                let wanted = match &value {
                    Some(value) => format!("{label}=\"{value}\""),
                    None => format!("{label}=\""),
                };
                let mut series = metrics.samples.keys().filter(own);
                assert!(
                    series.any(|series| series.contains(&wanted)),
                    "{wanted}: {query}"
                );
            }
            seen.insert(name);
        }
    }
    let unseen = metrics.families.keys().filter(|family| {
        let is_seen = seen.iter().any(|name| name.starts_with(family.as_str()));
        family.starts_with("megastats_") && !is_seen
    });
    assert_eq!(
        unseen.collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "looked at nowhere"
    );
}

#[test]
fn every_panel_says_what_it_shows_and_asks_the_chosen_source() {
    let chosen = Value::from("${datasource}");
    let panels = panels();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each has an id of its own");
    for panel in &panels {
        assert!(!text(&panel["description"]).is_empty(), "{panel}");
        assert_eq!(panel["datasource"]["uid"], chosen, "{panel}");
        for target in items(&panel["targets"]) {
            assert_eq!(target["datasource"]["uid"], chosen, "{panel}");
        }
    }
}

#[test]
fn the_dashboard_lets_its_viewer_choose_the_data_source() {
    let dashboard = json(DASHBOARD);
    let variables = items(&dashboard["templating"]["list"]);
    let [source, instance] = variables else {
        panic!("{variables:?}");
    };
    assert_eq!(source["name"], "datasource", "the panels name it so");
    assert_eq!(source["type"], "datasource");
    let provisioned = yaml("deploy/grafana/provisioning/datasources/prometheus.yml");
    assert_eq!(source["query"], provisioned["datasources"][0]["type"]);
    assert_eq!(instance["datasource"]["uid"], "${datasource}");
    assert_eq!(
        instance["query"]["query"],
        "label_values(megastats_build_info, instance)"
    );
}

#[test]
fn every_alert_says_how_bad_it_is_and_the_documentation_what_to_do() {
    let alerts = alerts();
    let names: BTreeSet<_> = alerts.iter().map(|alert| text(&alert["alert"])).collect();
    assert_eq!(names.len(), alerts.len(), "each has a name of its own");
    for alert in &alerts {
        assert!(["page", "ticket"].contains(&text(&alert["labels"]["severity"])));
        for annotation in ["summary", "description"] {
            assert!(
                !text(&alert["annotations"][annotation]).is_empty(),
                "{alert}"
            );
        }
    }
    for page in ["docs/OPERATIONS.md", "docs/RUNBOOK.md"] {
        let text = read(page);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let found = words.filter(|word| word.starts_with("Megastats"));
        assert_eq!(found.collect::<BTreeSet<_>>(), names, "{page}");
    }
}

#[tokio::test]
async fn the_documentation_has_each_metric_with_its_type() {
    let metrics = everything().await;
    let operations = read("docs/OPERATIONS.md");
    let rows = operations.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `megastats_")?.split('|');
        let name = cells.next()?.trim().trim_end_matches('`');
        let name = name.split('{').next()?;
        Some((format!("megastats_{name}"), cells.next()?.trim().to_owned()))
    });
    let documented: BTreeSet<_> = rows.collect();
    let shown = metrics.families.iter();
    let shown: BTreeSet<_> = shown
        .filter(|(name, _)| name.starts_with("megastats_"))
        .map(|(name, family)| (name.clone(), family.kind.clone()))
        .collect();
    assert_eq!(documented, shown);
}

#[test]
fn compose_starts_prometheus_and_grafana_with_the_files_that_there_are() {
    let compose = yaml("docker-compose.yml");
    let services = &compose["services"];
    for service in ["prometheus", "grafana"] {
        let image = text(&services[service]["image"]);
        let version = image.rsplit(':').next().unwrap();
        assert!(version.split('.').count() == 3, "{image} is not pinned");
        for volume in items(&services[service]["volumes"]) {
            if let Some(path) = text(volume).strip_prefix("./") {
                let path = path.split(':').next().unwrap();
                let root = Path::new(env!("CARGO_MANIFEST_DIR"));
                assert!(root.join(path).exists(), "{path}");
            }
        }
    }
    let prometheus = yaml("deploy/prometheus.yml");
    let job = &prometheus["scrape_configs"][0];
    assert_eq!(job["job_name"], "megastats", "the alerts ask for it");
    let found = &job["dns_sd_configs"][0];
    let name = text(&found["names"][0]);
    assert!(services[name]["deploy"]["replicas"].as_u64() > Some(1));
    let port = format!("MEGASTATS__SERVER__PORT={}", found["port"]);
    assert!(read("Dockerfile").contains(&port));
    let mounted = items(&services["prometheus"]["volumes"]).iter().map(text);
    let inside: Vec<_> = mounted.filter_map(|v| v.split(':').nth(1)).collect();
    assert!(
        inside.contains(&text(&prometheus["rule_files"][0])),
        "{inside:?}"
    );
}
