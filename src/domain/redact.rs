//! Keeps what looks like a token out of free text.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// What stands in a token's place.
const REDACTED: &str = "[redacted]";

/// The least length of what counts as a token after its beginning.
const MIN_TOKEN: usize = 16;

/// The text without what looks like a JSON Web Token (`eyJ...`) or follows the
/// word `Bearer`. One pass, whatever the text: anybody can send a long one.
pub fn redact(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut redacted = String::new();
    // What is before `kept` has been taken over.
    let (mut at, mut kept) = (0, 0);
    while at < bytes.len() {
        let start = match bytes[at] {
            b'e' if bytes[at..].starts_with(b"eyJ") => at,
            b'b' | b'B' => after_bearer(bytes, at).unwrap_or(bytes.len()),
            _ => bytes.len(),
        };
        match token_end(bytes, start) {
            Some(end) => {
                // Tokens are ASCII: they begin and end between characters.
                redacted.push_str(&text[kept..start]);
                redacted.push_str(REDACTED);
                (at, kept) = (end, end);
            }
            None => at += 1,
        }
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    redacted.push_str(&text[kept..]);
    Cow::Owned(redacted)
}

/// The same for all text in an object, names included. Its serialized text would not do: there
/// `\u001eyJ` is a control character and `yJ`, and `\t` stands for a blank.
pub(super) fn redact_object(object: Map<String, Value>) -> Map<String, Value> {
    object.into_iter().map(|(name, value)| (owned(name), redact_value(value))).collect()
}

fn redact_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(owned(text)),
        Value::Array(values) => Value::Array(values.into_iter().map(redact_value).collect()),
        Value::Object(object) => Value::Object(redact_object(object)),
        other => other,
    }
}

fn owned(text: String) -> String {
    match redact(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(redacted) => redacted,
    }
}

/// Where something would begin that follows `Bearer`, in any case, and blanks (also as `+` and `%20`).
fn after_bearer(text: &[u8], at: usize) -> Option<usize> {
    const WORD: &[u8] = b"bearer";
    let blanks = at + WORD.len();
    if !text.get(at..blanks)?.eq_ignore_ascii_case(WORD) {
        return None;
    }
    let mut start = blanks;
    loop {
        match text.get(start) {
            Some(b' ' | b'+' | b'\t' | b':') => start += 1,
            Some(b'%') if text[start..].starts_with(b"%20") => start += 3,
            _ => break,
        }
    }
    (start > blanks).then_some(start)
}

/// Where the token that begins here ends; `None` where it is too short for one.
fn token_end(text: &[u8], start: usize) -> Option<usize> {
    let is_long = text.get(start..start + MIN_TOKEN)?.iter().all(is_of_token);
    is_long.then(|| start + text[start..].iter().take_while(|b| is_of_token(b)).count())
}

fn is_of_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_taken_out_and_the_rest_stays() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
        assert_eq!(redact(&format!("/x?t={token}&u=1")), "/x?t=[redacted]&u=1");
        assert_eq!(redact(&format!("{token} and {token}")), "[redacted] and [redacted]");
        assert_eq!(redact("Authorization: bearer 0123456789abcdef0 end"), "Authorization: bearer [redacted] end");
        assert_eq!(redact("Bearer%200123456789abcdef0"), "Bearer%20[redacted]");
    }

    #[test]
    fn an_object_stays_one() {
        let object = serde_json::json!({
            "a": "\u{1e}yJabcdefghijklmnopqrst",
            "bearer 0123456789abcdef0": ["bearer\t0123456789abcdef0", 1, null],
            "b": {"c": "eyJabcdefghijklmnopqrst"},
        });
        let Value::Object(object) = object else { panic!() };
        let redacted = serde_json::to_value(redact_object(object)).unwrap();
        assert_eq!(
            redacted,
            serde_json::json!({
                "a": "\u{1e}yJabcdefghijklmnopqrst",
                "bearer [redacted]": ["bearer\t[redacted]", 1, null],
                "b": {"c": "[redacted]"},
            })
        );
    }

    /// Quadratic, this would take hours.
    #[test]
    fn a_long_text_of_many_tokens_takes_one_pass() {
        for pattern in ["eyJaaaaaaaaaaaaa,", "bearer 0123456789abcdef,", "eyJ", "bearer ", "bearer  eyJ"] {
            let text = pattern.repeat(200_000);
            assert!(redact(&text).len() <= text.len());
        }
        assert_eq!(redact(&"eyJaaaaaaaaaaaaa,".repeat(3)), "[redacted],".repeat(3));
    }

    #[test]
    fn plain_text_is_left_alone() {
        for text in [
            "",
            "Mozilla/5.0 (X11)",
            "the bearer of news",
            "eyJ",
            "keyJoin",
            "é bearer é",
            "0197e0a0-7c1e-7d3a-9b7e-0242ac120002",
        ] {
            assert!(matches!(redact(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }
}
