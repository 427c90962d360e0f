//! What the description promises of itself: it has every route that the service has, and no other.

use std::collections::BTreeSet;

use actix_web::{App, http::Method, introspection::IntrospectionTree, test, web};
use serde_json::Value;

use super::describe;
use crate::server;

#[test]
fn p() {
    println!("{}", describe().to_pretty_json().unwrap());
}
