//! Queries: tenants, zones, times, pages.

use harness::TestServer;

use super::{assert_error, assert_refused, assert_unharmed, refused};

/// The routes that take a tenant.
const OF_A_TENANT: [&str; 3] = ["", "/mega-stats", "/summary"];

const TENANT: &str = "1 to 128 characters, not blank, without control characters";
const ZONE: &str = "an IANA time zone name, e.g. America/Recife (in a query, + is written %2B)";
const TIME: &str =
    "an RFC 3339 date and time with offset, from 1970 to 2199, e.g. 2025-10-31T14:30:00Z";

#[tokio::test]
async fn a_missing_tenant_is_required() {
    let server = TestServer::start();
    for route in OF_A_TENANT {
        for query in [
            "",
            "?",
            "?&",
            "?tenantid=t",
            "?tenant_id=t",
            "?tenantId[]=t",
            "?=t",
        ] {
            assert_refused(
                &server.get(&format!("{route}{query}")).await,
                "tenantId",
                "is required",
            );
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn an_empty_blank_overlong_or_control_character_tenant_is_refused() {
    let server = TestServer::start();
    let (overlong, overlong_in_characters) = ("a".repeat(129), "%C3%A3".repeat(129));
    for route in OF_A_TENANT {
        for tenant in [
            "",
            "%20",
            "+",
            "%09",
            "%C2%A0",
            "%E3%80%80",
            &overlong,
            &overlong_in_characters,
            "%00",
            "a%00",
            "a%0A",
            "a%0D%0Ab",
            "a%7F",
            "a%C2%85",
            "a%1Bb",
        ] {
            let reply = server.get(&format!("{route}?tenantId={tenant}")).await;
            assert_refused(&reply, "tenantId", TENANT);
        }
        let value_less = server.get(&format!("{route}?tenantId")).await;
        assert_refused(&value_less, "tenantId", TENANT);
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_zone_that_is_unknown_empty_misspelt_or_a_path_is_refused() {
    let server = TestServer::start();
    for route in ["/mega-stats", "/summary"] {
        for zone in [
            "",
            "%20",
            "Nowhere",
            "America",
            "America/",
            "america/recife",
            "AMERICA/RECIFE",
            "America/Recife%20",
            "America/Recife%00",
            "America//Recife",
            "UTC-3",
            "Etc/GMT+3", // a plus sign that stands for a space
            "-03:00",
            "%2B03:00",
            "BRT3",
            "local",
            "posix/America/Recife",
            "../../etc/passwd",
            "America/../America/Recife",
            "/usr/share/zoneinfo/UTC",
            "/etc/localtime",
            "..%2F..%2Fetc%2Fpasswd",
            "file:///etc/passwd",
            "null",
        ] {
            let reply = server.get(&format!("{route}?tenantId=t&tz={zone}")).await;
            assert_refused(&reply, "tz", ZONE);
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_bound_that_is_no_instant_is_refused() {
    let server = TestServer::start();
    for route in ["", "/summary"] {
        for bound in ["from", "to"] {
            for time in [
                "",
                "now",
                "1761921000",
                "2025-10",
                "2025-10-31T14",
                "2025-10-31T14:30:00+03:00", // a plus sign that stands for a space
                "2025-10-31T14:30:00%2B25:99",
                "2025-02-29T00:00:00Z",
                "2025-02-30T00:00:00Z",
                "2025-04-31T00:00:00Z",
                "2025-13-01T00:00:00Z",
                "2025-00-01T00:00:00Z",
                "2025-01-00T00:00:00Z",
                "2025-10-31T24:00:01Z",
                "2025-10-31T14:60:00Z",
                "1969-12-31T23:59:59Z",
                "2200-01-01T00:00:00Z",
                "0000-01-01T00:00:00Z",
                "9999-12-31T23:59:59Z",
                "10000-01-01T00:00:00Z",
                "-2025-10-31T14:30:00Z",
                "%2B012025-10-31T14:30:00Z",
                "2025-10-31T14:30:00-03:00[America/Recife]",
                "31/10/2025",
                "2025-10-31T14:30:00Z%00",
                "%202025-10-31T14:30:00Z",
            ] {
                let reply = server
                    .get(&format!("{route}?tenantId=t&{bound}={time}"))
                    .await;
                assert_refused(&reply, bound, TIME);
            }
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn bounds_in_the_wrong_order_are_refused() {
    let server = TestServer::start();
    for route in ["", "/summary"] {
        for (from, to) in [
            ("2025-11-01T00:00:00Z", "2025-10-31T00:00:00Z"),
            ("2025-10-31T12:00:00.000001Z", "2025-10-31T12:00:00Z"),
            ("2025-10-31T12:00:00-03:00", "2025-10-31T14:59:59Z"),
        ] {
            let reply = server
                .get(&format!("{route}?tenantId=t&from={from}&to={to}"))
                .await;
            assert_refused(&reply, "to", "must not be before from");
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_page_that_is_no_page_number_is_refused() {
    let server = TestServer::start();
    for page in [
        "",
        "0",
        "-1",
        "abc",
        "1.0",
        "1e1",
        "%2B1",
        "%201",
        "0x1",
        "%D9%A1",
        "9007199254740992",
        "92233720368547759", // times the largest page_size it is just above 2^63
        "9223372036854775807",
        "9223372036854775808",
        "99999999999999999999",
    ] {
        let reply = server
            .get(&format!("?tenantId=t&page_size=100&page={page}"))
            .await;
        assert_refused(&reply, "page", "a whole number from 1 to 9007199254740991");
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_page_beyond_the_last_is_refused_and_names_the_last() {
    let server = TestServer::start();
    for query in [
        "page=2",
        "page=2&page_size=1",
        "page=9007199254740991",
        "page=9007199254740991&page_size=100",
    ] {
        let reply = server.get(&format!("?tenantId=t&{query}")).await;
        assert_refused(&reply, "page", "must be at most 1, the last page");
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_page_size_outside_1_to_100_is_refused() {
    let server = TestServer::start();
    for page_size in ["", "0", "101", "-1", "50.0", "all", "99999999999999999999"] {
        let reply = server
            .get(&format!("?tenantId=t&page_size={page_size}"))
            .await;
        assert_refused(&reply, "page_size", "a whole number from 1 to 100");
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_duplicated_parameter_is_named() {
    let server = TestServer::start();
    for (path, parameter) in [
        ("?tenantId=a&tenantId=b", "tenantId"),
        ("/mega-stats?tenantId=a&tz=UTC&tenantId=a", "tenantId"),
        ("/mega-stats?tenantId=a&tz=UTC&tz=UTC", "tz"),
        ("/summary?tenantId=a&from=&from=", "from"),
        ("?tenantId=a&page=1&p%61ge=2", "page"),
        ("/cache-metrics?limit=1&limit=2", "limit"),
    ] {
        let detail = assert_error(&server.get(path).await, 400);
        assert!(
            detail.contains(&format!("duplicate field `{parameter}`")),
            "{detail}"
        );
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_query_that_is_not_percent_encoded_utf_8_is_refused_and_not_read_as_another_tenant() {
    let server = TestServer::start();
    for route in OF_A_TENANT {
        for tenant in [
            "%",
            "%2",
            "%zz",
            "a%",
            "%%20",
            "%FF",
            "%C3",
            "%C3%28",
            "%ED%A0%80",
            "%C0%AF",
        ] {
            let detail = assert_error(
                &server.get(&format!("{route}?tenantId={tenant}")).await,
                400,
            );
            assert!(
                detail.contains("tenantId must be percent-encoded UTF-8"),
                "{detail}"
            );
        }
        for query in ["tenantId=t&%FF=1", "tenantId=t&x=%", "%=&tenantId=t"] {
            assert_error(&server.get(&format!("{route}?{query}")).await, 400);
        }
    }
    assert_error(&server.get("/cache-metrics?after=%FF").await, 400);
    assert_unharmed(&server).await;
    let shown = server.get("/cache-metrics").await;
    assert!(!shown.body.contains("%EF%BF%BD"), "{shown:?}");
}

#[tokio::test]
async fn everything_that_is_wrong_is_named_at_once() {
    let server = TestServer::start();
    let reply = server.get("?from=x&to=y&page=0&page_size=0").await;
    assert_eq!(
        refused(&reply),
        ["tenantId", "from", "to", "page", "page_size"]
    );
    let reply = server.get("/summary?tenantId=%00&tz=x&from=x&to=y").await;
    assert_eq!(refused(&reply), ["tenantId", "tz", "from", "to"]);
    let reply = server.get("/mega-stats?tz=x").await;
    assert_eq!(refused(&reply), ["tenantId", "tz"]);
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_refused_query_leaves_the_cache_alone() {
    let server = TestServer::start();
    for query in [
        "tz=x&tenantId=t",
        "tenantId=",
        "tenantId=%FF",
        "tenantId=t&tenantId=t",
    ] {
        server.get(&format!("/mega-stats?{query}")).await;
        server.get(&format!("/summary?{query}")).await;
    }
    let metrics = server.get("/cache-metrics").await.json();
    assert_eq!(metrics["cache_size"], 0);
    assert_eq!(metrics["cache_stats"]["total_requests"], 0);
}
