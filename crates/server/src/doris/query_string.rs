//! Parameters in the query string.
//!
//! Names and values are percent-decoded; `+` stays `+`, because tokens in base64 are sent unescaped. Of a repeated name
//! the last value counts, as in the JSON bodies.

use percent_encoding::percent_decode_str;

/// A query string taken apart. Holds the token: it has no `Debug`.
pub struct QueryString {
    /// Decoded, in the order they came.
    parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl QueryString {
    pub fn parse(query: &str) -> QueryString {
        let decoded = |text: &str| percent_decode_str(text).collect();
        let parameters = query.split('&').filter(|parameter| !parameter.is_empty()).map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (decoded(name), decoded(value))
        });
        QueryString {
            parameters: parameters.collect(),
        }
    }

    /// The value; empty when absent.
    pub fn bytes(&self, name: &str) -> &[u8] {
        let found = self.parameters.iter().rev().find(|(other, _)| other == name.as_bytes());
        found.map_or(&[], |(_, value)| value)
    }

    /// The value as text; what is not UTF-8 is replaced, as no name in the state holds it.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(self.bytes(name)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_the_last_one_counts() {
        let query = QueryString::parse("a=1&b=x%20%E5%AD%97+y&a=2&c&=d&e=f=g&h=%zz%4&%69=j&k=%ff");
        assert_eq!(query.text("a"), "2");
        assert_eq!(query.text("b"), "x 字+y");
        assert_eq!(query.text("c"), "");
        assert_eq!(query.text(""), "d");
        assert_eq!(query.text("e"), "f=g");
        assert_eq!(query.text("h"), "%zz%4");
        assert_eq!(query.text("i"), "j");
        assert_eq!(query.bytes("k"), b"\xff");
        assert_eq!(query.text("absent"), "");
    }
}
