//! The program's life, with the program itself: how it starts, survives, and ends.
//!
//! | file | what lives there |
//! |---|---|
//! | `start` | the first start, also of several at once, and the next one |
//! | `crash` | kill -9 |
//! | `drain` | SIGTERM and SIGINT |
//! | `limits` | too many connections, no time left |

mod crash;
mod drain;
mod limits;
mod start;

use harness::{Reply, TODAY};
use reqwest::StatusCode;
use serde_json::{Value, json};

const ROUTE: &str = "/api/v1/appointments";

/// An appointment of `patient` today.
pub fn appointment(patient: &str) -> Value {
    json!({
        "tenantId": "clinic", "patientId": patient, "startsAt": TODAY, "durationMin": 30,
    })
}

/// The patients of all appointments that the service at `url` lists, in order.
pub async fn patients(url: &str) -> Vec<String> {
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
