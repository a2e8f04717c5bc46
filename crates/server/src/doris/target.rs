//! What a request is for: token, version and route, before anything is done (spec/doris-http.md 2 and 3).

use super::query_string::QueryString;
use subtle::ConstantTimeEq;

/// What follows `/MetaService/http/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    version: Option<&'a str>,
    route: &'a str,
}

impl<'a> Target<'a> {
    /// A first segment of `v` and digits is the version; the rest, or else the whole path, is the route.
    pub fn of(path: &'a str) -> Target<'a> {
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        match first.strip_prefix('v') {
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => Target {
                version: Some(first),
                route: rest,
            },
            _ => Target {
                version: None,
                route: path,
            },
        }
    }

    /// The route, unless the version has none: only `v1` has any.
    pub fn route(self) -> Option<&'a str> {
        matches!(self.version, None | Some("v1")).then_some(self.route)
    }
}

/// Compares the given token in time that depends on its length only.
pub fn is_token(query: &QueryString, token: &str) -> bool {
    bool::from(query.bytes("token").ct_eq(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_routes() {
        for (path, route) in [
            ("create_instance", Some("create_instance")),
            ("v1/create_instance", Some("create_instance")),
            ("v2/create_instance", None),
            ("v10/create_instance", None),
            ("v01/create_instance", None),
            ("v1", Some("")),
            ("v1/", Some("")),
            ("v1/v1/create_instance", Some("v1/create_instance")),
            ("v/create_instance", Some("v/create_instance")),
            ("vx/create_instance", Some("vx/create_instance")),
            ("V1/create_instance", Some("V1/create_instance")),
            ("", Some("")),
        ] {
            assert_eq!(Target::of(path).route(), route, "{path}");
        }
    }

    #[test]
    fn only_the_whole_token_passes() {
        for (query, expected) in [
            ("token=s3cret", true),
            ("a=b&token=s3cret&c", true),
            ("token=s3%63ret", true),
            ("token=wrong&token=s3cret", true),
            ("token=s3cret&token=wrong", false),
            ("token=s3cre", false),
            ("token=s3crets", false),
            ("token=S3cret", false),
            ("Token=s3cret", false),
            ("token=", false),
            ("token", false),
            ("", false),
        ] {
            assert_eq!(is_token(&QueryString::parse(query), "s3cret"), expected, "{query}");
        }
    }
}
