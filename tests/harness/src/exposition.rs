//! Prometheus' text format, read strictly: what a scraper would refuse or misread fails the test.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::StatusCode;

use super::Reply;

/// All metrics of a service at one moment.
#[derive(Debug, Default)]
pub struct Exposition {
    /// By name.
    pub families: BTreeMap<String, Family>,
    /// By name and labels, as written.
    pub samples: BTreeMap<String, f64>,
}

/// A metric's type and help.
#[derive(Debug)]
pub struct Family {
    pub kind: String,
    pub help: String,
}

impl Exposition {
    /// Asks the service at `url`.
    pub async fn of(url: &str) -> Self {
        let reply = Reply::to(reqwest::Client::new().get(format!("{url}/metrics"))).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4");
        Self::parse(&reply.body)
    }

    /// Reads the text.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line is cut off");
        let mut exposition = Self::default();
        let (mut help, mut family) = (None, String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, text) = rest.split_once(' ').unwrap();
                help = Some((name, text));
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                let (helped, help) = help.take().unwrap();
                assert_eq!(name, helped, "HELP comes just before TYPE");
                assert!(is_name(name) && ["counter", "gauge", "histogram"].contains(&kind));
                let (kind, help) = (kind.to_owned(), help.to_owned());
                let before = exposition
                    .families
                    .insert(name.to_owned(), Family { kind, help });
                assert!(before.is_none(), "{name} comes twice");
                name.clone_into(&mut family);
            } else {
                exposition.add(line, &family);
            }
        }
        exposition.check_histograms();
        exposition
    }

    fn add(&mut self, line: &str, family: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = name_of(series);
        let is_histogram = self.families[family].kind == "histogram";
        let suffixes: &[&str] = if is_histogram {
            &["_bucket", "_sum", "_count"]
        } else {
            &[""]
        };
        let belongs = suffixes
            .iter()
            .any(|suffix| name == format!("{family}{suffix}"));
        assert!(belongs, "{series} stands below {family}");
        for (label, value) in labels(series) {
            assert!(is_name(&label) && !label.contains(':'), "{series}");
            assert!(!value.is_empty(), "{series}");
        }
        let value: f64 = value.parse().unwrap();
        let before = self.samples.insert(series.to_owned(), value);
        assert!(before.is_none(), "{series} comes twice");
    }

    /// Buckets only grow, and the last is the count.
    fn check_histograms(&self) {
        let mut histograms: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
        for (series, value) in &self.samples {
            let mut labels = labels(series);
            let bound = labels.iter().position(|(label, _)| label == "le");
            if let Some((_, bound)) = bound.map(|at| labels.remove(at)) {
                let name = name_of(series).strip_suffix("_bucket").unwrap();
                let buckets = histograms.entry((name, labels)).or_default();
                buckets.push((bound.parse().unwrap(), *value));
            }
        }
        for (series, count) in &self.samples {
            let Some(name) = name_of(series).strip_suffix("_count") else {
                continue;
            };
            let buckets = histograms.get_mut(&(name, labels(series))).unwrap();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let grow = buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
            assert!(grow, "{series}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{series}");
            let sum = series.replacen("_count", "_sum", 1);
            assert!(self.samples[&sum] >= 0.0, "{sum}");
        }
    }

    /// The value of a series, 0 if it has not been seen.
    pub fn value(&self, series: &str) -> f64 {
        self.samples.get(series).copied().unwrap_or_default()
    }

    /// The names of all samples.
    pub fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|series| name_of(series)).collect()
    }

    /// By how much each series differs from `before`; those that do not are left out.
    pub fn since(&self, before: &Self) -> BTreeMap<&str, f64> {
        let change = |(series, now): (&'_ String, &f64)| *now - before.value(series);
        self.samples
            .iter()
            .map(|sample| (sample.0.as_str(), change(sample)))
            .filter(|(_, by)| by.abs() > f64::EPSILON)
            .collect()
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.starts_with(|c: char| !c.is_ascii_digit()) && !name.is_empty() && name.chars().all(allowed)
}

fn name_of(series: &str) -> &str {
    series.split('{').next().unwrap()
}

/// The labels of a series, with their values as they are escaped.
fn labels(series: &str) -> Vec<(String, String)> {
    let Some((_, rest)) = series.split_once('{') else {
        return Vec::new();
    };
    let mut rest = rest.strip_suffix('}').unwrap();
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap();
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (value, after) = after.split_at(end.unwrap());
        labels.push((name.to_owned(), value.to_owned()));
        rest = after[1..].strip_prefix(',').unwrap_or(&after[1..]);
    }
    labels
}
