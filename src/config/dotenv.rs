//! The file `.env` of the working directory alone: whoever may write to a folder above it does not configure the
//! service.

use std::io::ErrorKind;
use std::path::Path;

use super::ConfigError;

const NAME: &str = ".env";

/// Sets what the environment does not have.
///
/// # Errors
/// A line is none; never repeated, for it may be a secret.
pub(super) fn load() -> Result<(), ConfigError> {
    let text = match std::fs::read_to_string(Path::new(NAME)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ConfigError::new(NAME, format!("can't be read: {error}"))),
    };
    if let Some(line) = line_of_substitution(&text) {
        let problem =
            "a $ would be taken for a variable, and the rest for something else: put the value in single quotes";
        return Err(ConfigError::new(NAME, format!("line {line}: {problem}")));
    }
    dotenvy::from_read(text.as_bytes())
        .map(drop)
        .map_err(|_| ConfigError::new(NAME, "a line is not NAME=value: quote values with blanks or #"))
}

/// The first line with a dollar sign that is neither escaped nor in single quotes nor in a comment: of a password
/// with one in it, half would be left, and nobody would see it.
fn line_of_substitution(text: &str) -> Option<usize> {
    let mut quote = None;
    for (number, line) in (1..).zip(text.lines()) {
        let mut before = ' ';
        let mut characters = line.chars();
        while let Some(character) = characters.next() {
            match (character, quote) {
                ('#', None) if before.is_whitespace() => break,
                ('\\', None | Some('"')) => drop(characters.next()),
                ('$', None | Some('"')) => return Some(number),
                ('\'' | '"', None) => quote = Some(character),
                (_, Some(open)) if character == open => quote = None,
                _ => {}
            }
            before = character;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dollar_sign_is_itself_or_an_error() {
        for (text, line) in [
            ("A=pa$word", Some(1)),
            ("B=1\n\nA=\"pa$word\"", Some(3)),
            ("A=$HOME", Some(1)),
            ("A=a'b'$c", Some(1)),
            ("A='pa$word'\nB=pa\\$word\n# $1\nC=x # costs $5\nD=\"a\\$b\"\nE='a\n$b'", None),
            ("A=a#$b", Some(1)),
            ("", None),
        ] {
            assert_eq!(line_of_substitution(text), line, "{text}");
        }
    }
}
