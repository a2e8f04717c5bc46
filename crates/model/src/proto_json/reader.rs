//! A JSON reader as lenient as protobuf's: bare keys, single quotes and trailing commas are accepted.
//!
//! Numbers stay text, because only the field they are meant for says which ones fit. Keys repeat: the caller decides
//! which one wins.

use super::ParseFailure;

/// Objects and lists inside each other, the root included. Deeper bodies are refused before they cost stack.
pub const MAX_NESTING: usize = 64;

/// Bytes of the body quoted on either side of a syntax error.
const CONTEXT_BYTES: usize = 20;

#[derive(Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    String(String),
    List(Vec<Json<'a>>),
    Object(Vec<(String, Json<'a>)>),
}

/// Whether an error may quote the surroundings of what is wrong. What is not well-formed cannot be told apart into secrets
/// and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surroundings {
    Quoted,
    Hidden,
}

/// Reads exactly one value; anything but white space behind it is an error.
pub(super) fn read(body: &[u8], surroundings: Surroundings) -> Result<Json<'_>, ParseFailure> {
    let text = std::str::from_utf8(body).map_err(|_| ParseFailure::new("Encountered non UTF-8 code points."))?;
    let mut reader = Reader {
        text,
        position: 0,
        surroundings,
    };
    let value = reader.value(1)?;
    reader.skip_blanks();
    if reader.peek().is_some() {
        return Err(reader.failure("Parsing terminated before end of input."));
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    /// Always on a character boundary: it only ever moves past ASCII characters or whole strings of them.
    position: usize,
    surroundings: Surroundings,
}

impl<'a> Reader<'a> {
    fn value(&mut self, nesting: usize) -> Result<Json<'a>, ParseFailure> {
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.object(nesting),
            Some(b'[') => self.list(nesting),
            Some(b'"' | b'\'') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) if self.skip_word("null") => Ok(Json::Null),
            Some(_) if self.skip_word("true") => Ok(Json::Bool(true)),
            Some(_) if self.skip_word("false") => Ok(Json::Bool(false)),
            _ => Err(self.failure("Expected a value.")),
        }
    }

    fn object(&mut self, nesting: usize) -> Result<Json<'a>, ParseFailure> {
        self.check_nesting(nesting)?;
        self.position += 1;
        let mut members = Vec::new();
        loop {
            self.skip_blanks();
            if self.skip_byte(b'}') {
                return Ok(Json::Object(members));
            }
            let key = self.key()?;
            self.skip_blanks();
            if !self.skip_byte(b':') {
                return Err(self.failure("Expected : between key:value pair."));
            }
            members.push((key, self.value(nesting + 1)?));
            self.skip_blanks();
            if !self.skip_byte(b',') && self.peek() != Some(b'}') {
                return Err(self.failure("Expected , or } after key:value pair."));
            }
        }
    }

    fn list(&mut self, nesting: usize) -> Result<Json<'a>, ParseFailure> {
        self.check_nesting(nesting)?;
        self.position += 1;
        let mut items = Vec::new();
        loop {
            self.skip_blanks();
            if self.skip_byte(b']') {
                return Ok(Json::List(items));
            }
            items.push(self.value(nesting + 1)?);
            self.skip_blanks();
            if !self.skip_byte(b',') && self.peek() != Some(b']') {
                return Err(self.failure("Expected , or ] after array value."));
            }
        }
    }

    fn key(&mut self) -> Result<String, ParseFailure> {
        match self.peek() {
            Some(b'"' | b'\'') => self.string(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$') => Ok(self
                .take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$')
                .to_owned()),
            _ => Err(self.failure("Expected an object key or }.")),
        }
    }

    /// Reads a quoted string. The cursor is on the opening quote.
    fn string(&mut self) -> Result<String, ParseFailure> {
        let quote = self.peek();
        self.position += 1;
        let mut content = String::new();
        loop {
            content.push_str(self.take_while(|byte| Some(byte) != quote && byte != b'\\'));
            if self.peek().is_none() {
                return Err(self.failure("Closing quote expected in string."));
            }
            if self.peek() == quote {
                self.position += 1;
                return Ok(content);
            }
            self.position += 1;
            content.push(self.escape()?);
        }
    }

    /// Reads what follows a backslash. An unknown escape stands for the escaped character itself.
    fn escape(&mut self) -> Result<char, ParseFailure> {
        let Some(escaped) = self.text[self.position..].chars().next() else {
            return Err(self.failure("Closing quote expected in string."));
        };
        self.position += escaped.len_utf8();
        match escaped {
            'b' => Ok('\u{8}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\u{b}'),
            'u' => self.unicode_escape(),
            other => Ok(other),
        }
    }

    fn unicode_escape(&mut self) -> Result<char, ParseFailure> {
        let first = self.four_hex_digits()?;
        let code_point = if !(0xD800..0xDC00).contains(&first) {
            first
        } else if self.skip_word("\\u") {
            let second = self.four_hex_digits()?;
            if !(0xDC00..0xE000).contains(&second) {
                return Err(self.failure("Invalid low surrogate."));
            }
            0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
        } else {
            return Err(self.failure("Missing low surrogate."));
        };
        char::from_u32(code_point).ok_or_else(|| self.failure("Invalid unicode code point."))
    }

    fn four_hex_digits(&mut self) -> Result<u32, ParseFailure> {
        let digits = self.text.as_bytes().get(self.position..self.position + 4).unwrap_or_default();
        if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(self.failure("Invalid escape sequence."));
        }
        self.position += 4;
        Ok(digits
            .iter()
            .fold(0, |number, digit| number * 16 + char::from(*digit).to_digit(16).unwrap_or(0)))
    }

    fn number(&mut self) -> Result<Json<'a>, ParseFailure> {
        let start = self.position;
        let digits = self.take_while(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        let unsigned = digits.strip_prefix('-').unwrap_or(digits).as_bytes();
        let octal = unsigned.len() > 1 && unsigned[0] == b'0' && unsigned[1].is_ascii_digit();
        let problem = match digits.parse::<f64>() {
            Ok(_) if octal => "Octal/hex numbers are not valid JSON values.",
            Ok(value) if value.is_finite() => return Ok(Json::Number(digits)),
            Ok(_) => "Number exceeds the range of double.",
            Err(_) => "Unable to parse number.",
        };
        self.position = start;
        Err(self.failure(problem))
    }

    fn check_nesting(&self, nesting: usize) -> Result<(), ParseFailure> {
        if nesting > MAX_NESTING {
            return Err(self.failure("Message too deep. Max recursion depth reached."));
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn skip_byte(&mut self, expected: u8) -> bool {
        let found = self.peek() == Some(expected);
        self.position += usize::from(found);
        found
    }

    fn skip_word(&mut self, word: &str) -> bool {
        let found = self.text[self.position..].starts_with(word);
        if found {
            self.position += word.len();
        }
        found
    }

    fn skip_blanks(&mut self) {
        self.take_while(|byte| byte.is_ascii_whitespace() || byte == b'\x0b');
    }

    /// Takes bytes up to the first one that is refused. Whoever refuses a byte of a multi-byte character would split
    /// it, so callers refuse ASCII only or refuse all that is not ASCII.
    fn take_while(&mut self, accepts: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.text[self.position..];
        let length = rest.bytes().position(|byte| !accepts(byte)).unwrap_or(rest.len());
        self.position += length;
        &rest[..length]
    }

    /// The message, the surroundings of the cursor, and a caret under it.
    fn failure(&self, expectation: &str) -> ParseFailure {
        let ended = if self.position == self.text.len() {
            "Unexpected end of string. "
        } else {
            ""
        };
        if self.surroundings == Surroundings::Hidden {
            return ParseFailure::new(format!("{ended}{expectation} At byte {}.", self.position));
        }
        let from = boundary_at_or_before(self.text, self.position.saturating_sub(CONTEXT_BYTES));
        let to = boundary_at_or_before(self.text, self.text.len().min(self.position + CONTEXT_BYTES));
        let context = &self.text[from..to];
        let caret = " ".repeat(self.position - from);
        ParseFailure::new(format!("{ended}{expectation}\n{context}\n{caret}^"))
    }
}

fn boundary_at_or_before(text: &str, mut position: usize) -> usize {
    while !text.is_char_boundary(position) {
        position -= 1;
    }
    position
}
