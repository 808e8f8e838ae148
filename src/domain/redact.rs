//! Keeps what looks like a token out of free text.

use std::borrow::Cow;

/// What stands in a token's place.
const REDACTED: &str = "[redacted]";

/// The least length of what counts as a token after its beginning.
const MIN_TOKEN: usize = 16;

/// The text without what looks like a JSON Web Token (`eyJ...`) or follows the
/// word `Bearer`. Costs one scan where there is nothing to take out.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut redacted = String::new();
    let mut rest = text;
    while let Some((start, end)) = find_token(rest) {
        redacted.push_str(&rest[..start]);
        redacted.push_str(REDACTED);
        rest = &rest[end..];
    }
    if redacted.is_empty() && rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    redacted.push_str(rest);
    Cow::Owned(redacted)
}

fn find_token(text: &str) -> Option<(usize, usize)> {
    let jwt = text.match_indices("eyJ").find_map(|(start, _)| {
        let end = start + token_length(&text[start..]);
        (end - start >= MIN_TOKEN).then_some((start, end))
    });
    let bearer = find_bearer(text);
    match (jwt, bearer) {
        (Some(a), Some(b)) => Some(if a.0 <= b.0 { a } else { b }),
        (found, None) | (None, found) => found,
    }
}

/// What follows `Bearer`, in any case, and blanks (also as `+` and `%20`).
fn find_bearer(text: &str) -> Option<(usize, usize)> {
    const WORD: &[u8] = b"bearer";
    text.as_bytes().windows(WORD.len()).enumerate().find_map(|(at, window)| {
        if !window.eq_ignore_ascii_case(WORD) {
            return None;
        }
        let mut start = at + WORD.len();
        let blanks = start;
        loop {
            let rest = &text[start..];
            if rest.starts_with([' ', '+', '\t', ':']) {
                start += 1;
            } else if rest.starts_with("%20") {
                start += 3;
            } else {
                break;
            }
        }
        let length = token_length(&text[start..]);
        (start > blanks && length >= MIN_TOKEN).then_some((start, start + length))
    })
}

fn token_length(text: &str) -> usize {
    text.bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'='))
        .count()
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
