//! The program's life, with the program itself: how it starts, survives, and ends.
//!
//! | file | what lives there |
//! |---|---|
//! | `start` | the first start, several at once, and what stops one |
//! | `crash` | kill -9 |
//! | `drain` | SIGTERM and SIGINT |
//! | `limits` | a full disk, too many connections, no time left |

mod crash;
mod drain;
mod limits;
mod start;

use std::path::{Path, PathBuf};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Reply, TODAY};

const ROUTE: &str = "/api/v1/appointments";

/// Where the program keeps its database unless it is told otherwise.
fn database(folder: &Path) -> PathBuf {
    folder.join("data/megastats.db")
}

fn appointment(patient: &str) -> Value {
    json!({
        "tenantId": "clinic", "patientId": patient, "startsAt": TODAY, "durationMin": 30,
    })
}

/// The patients of all appointments that the service at `url` lists, in order.
async fn patients(url: &str) -> Vec<String> {
    let client = reqwest::Client::new();
    let mut patients = Vec::new();
    for page in 1.. {
        let url = format!("{url}{ROUTE}?tenantId=clinic&page_size=100&page={page}");
        let reply = Reply::to(client.get(url)).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        let list = reply.json();
        let listed = list["data"].as_array().unwrap();
        patients.extend(
            listed
                .iter()
                .map(|one| one["patient_id"].as_str().unwrap().to_owned()),
        );
        if page >= list["total_pages"].as_i64().unwrap() {
            break;
        }
    }
    patients.sort_unstable();
    patients
}
