//! `megastats demo`: clinics whose figures move, and nothing left behind.

use std::fs;

use harness::{EventStream, Folder, PREFIX, Process, Reply};

#[tokio::test]
async fn the_demo_shows_clinics_whose_figures_move_and_leaves_nothing_behind() {
    for signal in ["INT", "TERM"] {
        let folder = Folder::new();
        let temporary = folder.path().join("tmp");
        fs::create_dir(&temporary).unwrap();
        let environment = [("TMPDIR", temporary.to_str().unwrap())];
        let demo = Process::start_with(folder.path(), &["demo"], &environment);
        let client = reqwest::Client::new();
        let get = |path: &str| client.get(format!("{}{PREFIX}{path}", demo.url()));
        for (tenant, zone) in [
            ("default-tenant", "America/Recife"),
            ("clinica-jacaranda", "America/Sao_Paulo"),
            ("consultorio-tejo", "Europe/Lisbon"),
        ] {
            let query = format!("?tenantId={tenant}&tz={zone}");
            let stats = Reply::to(get(&format!("/mega-stats{query}"))).await.json();
            for status in ["confirmed", "pending"] {
                assert!(
                    stats["month"][status].as_i64() > Some(0),
                    "{tenant}: {stats}"
                );
            }
            let mut viewer = EventStream::open(get(&format!("/mega-stats/events{query}"))).await;
            let first = viewer.next().await.unwrap();
            assert_ne!(viewer.next().await.unwrap().json(), first.json());
        }
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 1);
        demo.signal(signal);
        let (status, log) = demo.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
        assert!(!folder.path().join("data").exists());
    }
}
