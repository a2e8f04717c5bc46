//! Calls of the API below `/api/v1`, which has databases, collections, snapshots and jobs.
//!
//! A write runs in a session of its own, as those of Doris's routes do, so that trying it again is the same write.

use crate::doris::{Answer, Connection, Dialect, Outgoing};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

/// A path of the API, each part of it encoded.
pub fn path(parts: &[&str]) -> String {
    let parts = parts.iter().map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
    parts.fold("/api/v1".to_owned(), |path, part| path + "/" + &part)
}

impl Connection {
    /// Reads one thing. Parameters without a value are left out.
    pub async fn get(&self, path: &str, parameters: &[(&str, String)]) -> anyhow::Result<Json> {
        let given = parameters.iter().filter(|(_, value)| !value.is_empty());
        let query: Vec<String> = given
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        let uri = match query.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", query.join("&")),
        };
        Ok(self.send(&outgoing(Method::GET, uri, String::new()), None).await?.result)
    }

    /// Reads all pages of a list, whose items are in `field`.
    pub async fn all(&self, path: &str, parameters: &[(&str, String)], field: &str) -> anyhow::Result<Vec<Json>> {
        let mut items = Vec::new();
        let mut page_token = String::new();
        loop {
            let mut parameters = parameters.to_vec();
            parameters.push(("page_token", page_token));
            // Each page has its whole time: a list may be long.
            let mut page = self.anew().get(path, &parameters).await?;
            if let Json::Array(found) = page[field].take() {
                items.extend(found);
            }
            page_token = page["next_page_token"].as_str().unwrap_or_default().to_owned();
            if page_token.is_empty() {
                return Ok(items);
            }
        }
    }

    /// Writes, at most once however often it is tried.
    pub async fn post(&self, path: &str, body: &Json) -> anyhow::Result<Answer> {
        self.perform(&posting(path, body)).await
    }
}

/// A change by `POST`.
pub fn posting(path: &str, body: &Json) -> Outgoing {
    outgoing(Method::POST, path.to_owned(), body.to_string())
}

/// A change by `PUT`.
pub fn putting(path: &str, body: &Json) -> Outgoing {
    outgoing(Method::PUT, path.to_owned(), body.to_string())
}

/// A change by `DELETE`.
pub fn deleting(path: &str) -> Outgoing {
    outgoing(Method::DELETE, path.to_owned(), String::new())
}

fn outgoing(method: Method, uri: String, body: String) -> Outgoing {
    Outgoing {
        method,
        uri,
        body,
        dialect: Dialect::Api,
        dry_run: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_holds_every_name_as_one_part() {
        assert_eq!(
            path(&["instances", "a/b", "databases", "ä $"]),
            "/api/v1/instances/a%2Fb/databases/%C3%A4%20%24"
        );
    }
}
