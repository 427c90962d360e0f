//! The examples in the description: there is one wherever a value is described, and each is what it
//! is an example of.

use std::sync::Arc;

use harness::FakeClock;
use reqwest::StatusCode;
use serde_json::{Map, Value, json};

use super::{TestServer, description};

/// What `at` is, or refers to.
fn resolve<'a>(description: &'a Value, at: &'a Value) -> &'a Value {
    at["$ref"].as_str().map_or(at, |reference| {
        description.pointer(&reference[1..]).expect("it is there")
    })
}

/// The example that goes with a value, its schema, or every part of that.
fn example(description: &Value, value: &Value) -> Option<Value> {
    let value = resolve(description, value);
    let own = value.get("example").or_else(|| value["examples"].get(0));
    if own.is_some() {
        return own.cloned();
    }
    let of = |part: &Value| example(description, part);
    if let Some(properties) = value["properties"].as_object() {
        let whole = properties
            .iter()
            .map(|(name, part)| Some((name.clone(), of(part)?)));
        return whole.collect::<Option<Map<_, _>>>().map(Value::Object);
    }
    if let Some(choices) = value["oneOf"].as_array() {
        return choices.iter().find_map(of);
    }
    match (value.get("items"), value.get("schema")) {
        (Some(items), _) => of(items).map(|item| json!([item])),
        (None, schema) => of(schema?),
    }
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        None => true,
        Some("null") => value.is_null(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some(other) => panic!("no value here is a {other}"),
    }
}

/// Asserts that `value` is what `schema` says, and that an object has all of its members and no
/// others.
fn assert_fits(description: &Value, schema: &Value, value: &Value, name: &str) {
    let schema = resolve(description, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let choice = choices.iter().find(|choice| {
            let choice = resolve(description, choice);
            is_of_type(value, &choice["type"])
        });
        let choice = choice.unwrap_or_else(|| panic!("{name}: {value} is none of {choices:?}"));
        return assert_fits(description, choice, value, name);
    }
    let types = &schema["type"];
    let is_one_of_them = types.as_array().map_or_else(
        || is_of_type(value, types),
        |types| types.iter().any(|one| is_of_type(value, one)),
    );
    assert!(is_one_of_them, "{name}: {value} is no {types}");
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{name}: {value} is not allowed");
    }
    if let (Some(number), Some(least)) = (value.as_f64(), schema["minimum"].as_f64()) {
        assert!(number >= least, "{name}: {value} is below {least}");
    }
    for item in value.as_array().into_iter().flatten() {
        assert_fits(description, &schema["items"], item, name);
    }
    let Some(object) = value.as_object() else {
        return;
    };
    for required in schema["required"].as_array().into_iter().flatten() {
        let member = required.as_str().unwrap();
        assert!(object.contains_key(member), "{name}: {member} is missing");
    }
    for (member, value) in object {
        let part = &schema["properties"][member];
        assert!(!part.is_null(), "{name}: {member} is not described");
        assert_fits(description, part, value, &format!("{name} {member}"));
    }
}

fn assert_has_example(description: &Value, value: &Value, name: &str) {
    let value = resolve(description, value);
    let Some(example) = example(description, value) else {
        panic!("{name} has no example: {value}");
    };
    assert_fits(description, &value["schema"], &example, name);
}

#[tokio::test]
async fn every_parameter_header_and_json_answer_has_an_example_that_its_schema_allows() {
    let server = TestServer::start();
    let description = description(&server).await;
    let (mut parameters, mut headers, mut answers) = (0, 0, 0);
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = format!("{method} {path} {}", parameter["name"]);
                assert_has_example(&description, parameter, &name);
                parameters += 1;
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                let response = resolve(&description, response);
                for (header, value) in response["headers"].as_object().unwrap() {
                    let name = format!("{method} {path} {status} {header}");
                    assert_has_example(&description, value, &name);
                    headers += 1;
                }
                if let Some(body) = response["content"].get("application/json") {
                    let name = format!("{method} {path} {status}");
                    assert_has_example(&description, body, &name);
                    answers += 1;
                }
            }
        }
    }
    assert!(parameters > 10 && headers > 50 && answers > 50);
}

/// All text that is below `value`.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(members) => members.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn the_examples_are_of_the_day_on_which_they_are_asked_for() {
    let clock = Arc::new(FakeClock::at("2031-02-03T23:59:00Z"));
    let server = TestServer::builder().clock(clock.clone()).start();
    for day in ["2031-02-03", "2031-02-04"] {
        let description = description(&server).await;
        let schemas = &description["components"]["schemas"];
        for shown in [
            &schemas["NewAppointment"]["example"]["startsAt"],
            &schemas["Instant"]["examples"][0],
            &schemas["Appointment"]["properties"]["starts_at"]["example"],
        ] {
            assert!(shown.as_str().unwrap().starts_with(day), "{shown}");
        }
        let texts = texts(&description).into_iter();
        let other: Vec<_> = texts
            .filter(|text| text.starts_with("20") && text.contains('T') && !text.starts_with(day))
            .collect();
        assert_eq!(other, Vec::<&str>::new());
        clock.set("2031-02-04T00:00:00Z");
    }
}

#[tokio::test]
async fn sending_the_examples_as_they_stand_changes_no_clinic_s_appointments() {
    let server = TestServer::start();
    let there = server
        .book("default-tenant", "2025-11-03T12:00:00Z", "pending")
        .await;
    let before = server.get(&format!("/{there}")).await.body;
    let description = description(&server).await;

    let update = &description["paths"]["/api/v1/appointments/{id}"]["patch"];
    let id = update["parameters"][0]["example"].as_i64().unwrap();
    let body = &update["requestBody"]["content"]["application/json"]["schema"];
    let body = example(&description, body).unwrap();
    assert_eq!(body, json!({ "status": "confirmed" }), "no reschedule");
    let reply = server.patch(id, &body).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND, "{reply:?}");

    let create = &description["paths"]["/api/v1/appointments/"]["post"];
    let body = &create["requestBody"]["content"]["application/json"]["schema"];
    let reply = server.post(&example(&description, body).unwrap()).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(reply.json()["tenant_id"], "example-clinic");

    assert_eq!(server.get(&format!("/{there}")).await.body, before);
    let list = server.get("?tenantId=default-tenant").await.json();
    assert_eq!(list["total"], 1);
}

#[tokio::test]
async fn generators_find_plain_schemas() {
    let server = TestServer::start();
    let description = description(&server).await;
    let schemas = description["components"]["schemas"].as_object().unwrap();
    let changes = &schemas["AppointmentChanges"];
    assert_eq!(
        (&changes["type"], &changes["minProperties"]),
        (&json!("object"), &json!(1))
    );
    assert_eq!(changes.get("required"), None);
    assert_eq!(schemas["TimeZone"].get("enum"), None, "hundreds of names");
    for (name, schema) in schemas {
        for composed in ["allOf", "anyOf", "not", "if"] {
            assert_eq!(schema.get(composed), None, "{name}");
        }
        let values = schema["enum"].as_array();
        assert!(values.is_none_or(|values| values.len() < 10), "{name}");
    }
    assert!(description["servers"][0]["url"].is_string());
}
