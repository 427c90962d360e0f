//! A client of the stream of Server-Sent Events.

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::within;

/// One stream, kept open.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    read: String,
}

/// An event: what each of its fields has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `message` unless it says otherwise.
    pub name: String,
    /// The field `x-cache`.
    pub x_cache: String,
    /// The field `data`.
    pub data: String,
}

impl Event {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

impl EventStream {
    /// Opens the stream that `request` asks for.
    pub async fn open(request: RequestBuilder) -> Self {
        let response = within("a stream", request.send()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{response:?}");
        Self::of(response)
    }

    /// The stream that `response` begins.
    pub(crate) fn of(response: Response) -> Self {
        Self {
            response,
            read: String::new(),
        }
    }

    /// The next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.read.find("\n\n") {
                let block: String = self.read.drain(..end + 2).collect();
                if let Some(event) = parse(&block) {
                    return Some(event);
                }
            }
            let chunk = within("an event", self.response.chunk()).await.unwrap()?;
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Reads until an event's data is `data`; returns that event.
    pub async fn until(&mut self, data: &str) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.data == data {
                return event;
            }
        }
    }
}

/// The event of `block`, unless that has no data.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let mut values = block
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        values.next().map(str::to_owned)
    };
    Some(Event {
        data: field("data")?,
        name: field("event").unwrap_or_else(|| "message".to_owned()),
        x_cache: field("x-cache").unwrap_or_default(),
    })
}
