//! The routes that the service has are those that it describes.

use std::collections::BTreeSet;

use actix_web::{App, introspection::IntrospectionTree, test, web};
use serde_json::Value;

use super::paths;
use crate::openapi;

/// A method and a path. A path with a slash at its end is the same as without.
type Route = (String, String);

/// What serves pages, and the description itself.
const NOT_DESCRIBED: [&str; 5] = [
    "/",
    "/dashboard/{file}",
    "/openapi.json",
    "/docs",
    "/docs/{file:.*}",
];

fn route(method: &str, path: &str) -> Route {
    (method.to_uppercase(), path.trim_end_matches('/').to_owned())
}

/// The routes as the web server has them.
async fn served(needs_token: bool) -> BTreeSet<Route> {
    let app = test::init_service(App::new().configure(|config| paths(config, needs_token))).await;
    let answer = test::call_service(&app, test::TestRequest::default().to_request()).await;
    let tree: &web::Data<IntrospectionTree> = answer.request().app_data().unwrap();
    let items: Vec<Value> = serde_json::from_str(&tree.report_as_json()).unwrap();
    let mut routes = BTreeSet::new();
    for item in items {
        let (path, methods) = (item["full_path"].as_str().unwrap(), &item["methods"]);
        if NOT_DESCRIBED.contains(&path) {
            continue;
        }
        let methods = methods.as_array().unwrap();
        assert!(!methods.is_empty(), "{path} takes every method");
        routes.extend(
            methods
                .iter()
                .map(|method| route(method.as_str().unwrap(), path)),
        );
    }
    routes
}

/// The routes as they are described, and with each `GET` a `HEAD`.
fn described() -> BTreeSet<Route> {
    let description = serde_json::to_value(openapi::describe()).unwrap();
    let mut routes = BTreeSet::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            routes.insert(route(method, path));
            if method == "get" {
                routes.insert(route("head", path));
            }
        }
    }
    routes
}

#[actix_web::test]
async fn every_route_is_described_and_every_described_route_is_there() {
    for needs_token in [true, false] {
        assert_eq!(served(needs_token).await, described(), "{needs_token}");
    }
}
