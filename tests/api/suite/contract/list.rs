//! `GET /`, page by page.

use harness::{PREFIX, TestServer};
use reqwest::StatusCode;
use serde_json::json;

use super::{ids, server};

/// Books pending appointments of the tenant `t`, in this order; returns their ids.
async fn book_all(server: &TestServer, starts: &[&str]) -> Vec<i64> {
    let mut ids = Vec::new();
    for starts_at in starts {
        ids.push(server.book("t", starts_at, "pending").await);
    }
    ids
}

#[tokio::test]
async fn an_empty_list_is_page_1_of_0() {
    let server = server();
    let reply = server.get("?tenantId=t").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(
        reply.body,
        r#"{"data":[],"total":0,"page":1,"page_size":50,"total_pages":0}"#
    );
    assert_eq!(server.get("?tenantId=t&page=1").await.body, reply.body);
}

#[tokio::test]
async fn a_list_shows_each_appointment_as_get_does() {
    let server = server();
    let id = server.book("t", "2025-11-03T12:00:00Z", "confirmed").await;
    let appointment = server.get(&format!("/{id}")).await.body;
    assert_eq!(
        server.get("?tenantId=t").await.body,
        format!(r#"{{"data":[{appointment}],"total":1,"page":1,"page_size":50,"total_pages":1}}"#)
    );
}

#[tokio::test]
async fn the_order_is_by_start_and_then_by_id() {
    let server = server();
    let booked = book_all(
        &server,
        &[
            "2025-11-03T12:00:00Z",
            "2025-11-03T09:00:00-03:00", // the same instant
            "2025-11-01T12:00:00Z",
            "2025-11-03T12:00:00Z",
            "2025-11-03T11:59:59.999999Z",
            "2024-02-29T12:00:00Z",
        ],
    )
    .await;
    let listed = ids(&server.get("?tenantId=t").await.json());
    assert_eq!(listed, [5, 2, 4, 0, 1, 3].map(|index| booked[index]));
}

#[tokio::test]
async fn cancelled_appointments_are_listed_too() {
    let server = server();
    let id = server.book("t", "2025-11-03T12:00:00Z", "cancelled").await;
    assert_eq!(ids(&server.get("?tenantId=t").await.json()), [id]);
}

#[tokio::test]
async fn from_is_inclusive_and_to_is_exclusive() {
    let server = server();
    let noon = "2025-11-03T12:00:00Z";
    let booked = book_all(
        &server,
        &[
            "2025-11-03T11:59:59.999999Z",
            noon,
            "2025-11-03T12:00:00.000001Z",
        ],
    )
    .await;
    for (bounds, expected) in [
        (String::new(), &booked[..]),
        (format!("&from={noon}"), &booked[1..]),
        (format!("&to={noon}"), &booked[..1]),
        (format!("&from={noon}&to={noon}"), &[]),
        (
            format!("&from={noon}&to=2025-11-03T12:00:00.000001Z"),
            &booked[1..2],
        ),
        (
            "&from=2025-11-03T09:00:00-03:00&to=2025-11-03T12:00:01Z".to_owned(),
            &booked[1..],
        ),
        (
            "&from=2025-11-03T15:00:00%2B03:00&to=2025-11-04T00:00:00Z".to_owned(),
            &booked[1..],
        ),
        ("&from=2025-11-04T00:00:00Z".to_owned(), &[]),
    ] {
        let list = server.get(&format!("?tenantId=t{bounds}")).await.json();
        assert_eq!(ids(&list), expected, "{bounds}");
        assert_eq!(list["total"], expected.len(), "{bounds}");
    }
}

#[tokio::test]
async fn pages_hold_every_appointment_once_even_where_starts_are_equal() {
    let server = server();
    let starts: Vec<_> = (0..13)
        .map(|n| format!("2025-11-03T1{}:00:00Z", n % 2))
        .collect();
    let booked = book_all(
        &server,
        &starts.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
    let even = booked.iter().step_by(2);
    let odd = booked.iter().skip(1).step_by(2);
    let expected: Vec<i64> = even.chain(odd).copied().collect();
    for page_size in [1, 2, 3, 5, 6, 12, 13, 14, 100] {
        let mut found = Vec::new();
        let total_pages = 13_usize.div_ceil(page_size);
        for page in 1..=total_pages {
            let query = format!("?tenantId=t&page={page}&page_size={page_size}");
            let list = server.get(&query).await.json();
            let mut figures = list.clone();
            figures["data"].take();
            assert_eq!(
                figures,
                json!({ "data": null, "total": 13, "page": page, "page_size": page_size,
                        "total_pages": total_pages })
            );
            assert!(ids(&list).len() == page_size || page == total_pages);
            found.extend(ids(&list));
        }
        assert_eq!(found, expected, "page_size {page_size}");
    }
}

#[tokio::test]
async fn a_page_holds_50_unless_page_size_says_otherwise() {
    let server = server();
    book_all(&server, &["2025-11-03T12:00:00Z"; 51]).await;
    for (query, held, total_pages) in [
        ("", 50, 2),
        ("&page=2", 1, 2),
        ("&page_size=100", 51, 1),
        ("&page_size=50", 50, 2),
    ] {
        let list = server.get(&format!("?tenantId=t{query}")).await.json();
        assert_eq!(ids(&list).len(), held, "{query}");
        assert_eq!(
            [&list["total"], &list["total_pages"]],
            [51, total_pages],
            "{query}"
        );
    }
}

#[tokio::test]
async fn the_total_is_of_the_range_and_so_is_the_last_page() {
    let server = server();
    book_all(&server, &["2025-11-03T12:00:00Z", "2025-11-04T12:00:00Z"]).await;
    let ranged = "?tenantId=t&page_size=1&to=2025-11-04T00:00:00Z";
    let list = server.get(ranged).await.json();
    assert_eq!([&list["total"], &list["total_pages"]], [1, 1]);
    let beyond = server.get(&format!("{ranged}&page=2")).await;
    assert_eq!(beyond.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn no_tenant_sees_anothers_appointments() {
    let server = server();
    let tenants = [
        "t",
        "T",
        "t t",
        "t%",
        "t_",
        "t:u",
        "é",
        "e\u{301}",
        "' OR 1=1 --",
    ];
    let mut booked = Vec::new();
    for tenant in tenants {
        booked.push(server.book(tenant, "2025-11-03T12:00:00Z", "pending").await);
    }
    for (tenant, id) in tenants.into_iter().zip(booked) {
        let url = format!("{}{PREFIX}", server.url());
        let list = server
            .request(server.client().get(url).query(&[("tenantId", tenant)]))
            .await;
        assert_eq!(ids(&list.json()), [id], "{tenant}");
        assert_eq!(list.json()["data"][0]["tenant_id"], tenant);
        assert_eq!(list.json()["total"], 1, "{tenant}");
    }
}
