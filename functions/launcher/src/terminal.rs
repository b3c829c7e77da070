//! Output to a terminal, a file or a pipe.

use std::io::{self, ErrorKind, Write};

/// Writes results to standard output. A reader that has enough, such as `head`, is no error.
pub(crate) fn print(text: &str) -> Result<(), String> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot print: {error}")),
        _ => Ok(()),
    }
}

/// Writes to standard error. If nobody can read it, nobody can be told so.
pub(crate) fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The text in one line, with JSON's escapes in place of the characters that a terminal obeys, or that hide others. JSON
/// stays the same JSON.
pub(crate) fn visible(text: &str) -> String {
    let is_harmless = |character: char| !character.is_control() && !is_invisible(character);
    text.chars().fold(String::with_capacity(text.len()), |mut shown, character| {
        match character {
            _ if is_harmless(character) => shown.push(character),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            _ => shown.push_str(&format!("\\u{:04x}", u32::from(character))),
        }
        shown
    })
}

/// Line separators, and characters of no width or that change the direction of the text.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn a_terminal_obeys_no_text() {
        for (text, expected) in [
            ("there is no “order” – ü", "there is no “order” – ü"),
            ("\u{1b}[2J\u{7}", r"\u001b[2J\u0007"),
            ("a\r\nb\tc", r"a\r\nb\tc"),
            ("\u{7f}\u{9b}31m", r"\u007f\u009b31m"),
            ("\u{202e}abc\u{2066}\u{200b}\u{2028}\u{feff}", r"\u202eabc\u2066\u200b\u2028\ufeff"),
        ] {
            assert_eq!(visible(text), expected, "{text:?}");
        }
    }
}
