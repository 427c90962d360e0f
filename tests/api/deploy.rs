//! What the files below `deploy/` say of the service is so. `scripts/check-deploy` asks whether those
//! who read them, systemd and Kubernetes, understand them.

use std::{fs, path::Path, time::Duration};

use harness::{command, run};
use megastats::settings::Settings;
use serde_json::Value;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(path)).unwrap()
}

/// The manifest's object of that kind.
fn manifest(kind: &str) -> Value {
    let file = read("deploy/kubernetes/megastats.yml");
    let objects = file.split("\n---\n");
    let mut objects = objects.map(|object| serde_saphyr::from_str::<Value>(object).unwrap());
    objects.find(|object| object["kind"] == kind).unwrap()
}

/// The value of a line `key=value` of the unit.
fn unit(key: &str) -> String {
    let file = read("deploy/systemd/megastats.service");
    let mut lines = file.lines().filter_map(|line| line.split_once('='));
    let (_, value) = lines.find(|(name, _)| *name == key).unwrap();
    value.to_owned()
}

#[test]
fn the_kubernetes_manifest_has_settings_that_the_program_takes() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    let settings = manifest("ConfigMap");
    for (name, value) in settings["data"].as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    let deployment = manifest("Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        let url = match name {
            "MEGASTATS__DATABASE__URL" => "postgres://megastats:word@db/megastats",
            "MEGASTATS__CACHE__REDIS__URL" => "redis://:word@redis",
            other => panic!("{other} is from a secret that this test does not know"),
        };
        command.env(name, url);
    }
    let output = run(command.arg("config"));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_kubernetes_manifest_fits_the_image() {
    let image = read("Dockerfile");
    let deployment = manifest("Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let port = &container["ports"][0];
    assert!(image.contains(&format!(
        "MEGASTATS__SERVER__PORT={}",
        port["containerPort"]
    )));
    let (user, group) = (
        &pod["securityContext"]["runAsUser"],
        &pod["securityContext"]["runAsGroup"],
    );
    assert!(image.contains(&format!("USER {user}:{group}")));
    let name = container["image"].as_str().unwrap();
    assert!(
        name.ends_with(&format!("/megastats:{}", env!("CARGO_PKG_VERSION"))),
        "{name}"
    );
    for (probe, path) in [
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ] {
        let request = &container[probe]["httpGet"];
        assert_eq!(request["path"], path, "{probe}");
        assert_eq!(request["port"], port["name"], "{probe}");
    }
    let service = manifest("Service");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    assert_eq!(
        pod["enableServiceLinks"], false,
        "MEGASTATS_PORT would stop the start"
    );
}

#[test]
fn whatever_stops_the_service_waits_until_it_has_drained() {
    let server = Settings::default().server;
    let seconds = |text: &str| Duration::from_secs(text.parse().unwrap());

    let stop = seconds(&unit("TimeoutStopSec"));
    assert!(stop > server.drain_delay + server.shutdown_timeout);

    let settings = &manifest("ConfigMap")["data"];
    let delay = seconds(
        settings["MEGASTATS__SERVER__DRAIN_DELAY_SECONDS"]
            .as_str()
            .unwrap(),
    );
    let grace =
        &manifest("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    let grace = Duration::from_secs(grace.as_u64().unwrap());
    assert!(grace > delay + server.shutdown_timeout);
}

#[test]
fn the_systemd_unit_allows_every_connection_and_owns_the_database_folder() {
    let files: usize = unit("LimitNOFILE").parse().unwrap();
    assert!(files > Settings::default().server.max_connections);
    let production = read("config/production.toml");
    let folder = format!("sqlite:///var/lib/{}/", unit("StateDirectory"));
    assert!(production.contains(&folder), "{folder}");
}
