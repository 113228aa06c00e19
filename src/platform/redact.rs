//! What of a vendor's own words may stand in an error: one short line that says the same on every try.

/// Longest text of a vendor that an error repeats.
const LONGEST: usize = 160;
/// A word from this length on may be a token, a request id or a piece of a value.
const LONG_WORD: usize = 20;

/// One line of at most 160 characters, without control characters, addresses, ids of requests, and anything that looks like a
/// credential. `secret` never stands in it, in no part.
pub(super) fn vendor_text(raw: &str, secret: &str) -> String {
    let spoken = if secret.is_empty() { raw.to_string() } else { raw.replace(secret, "…") };
    let mut said = String::new();
    for word in spoken.split(|character: char| character.is_whitespace() || character.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !said.is_empty() {
            said.push(' ');
        }
        said.push_str(if is_opaque(word) { "…" } else { word });
        if said.len() > 4 * LONGEST {
            break;
        }
    }
    shortened(&said, LONGEST)
}

/// The first `most` characters, with a mark where something was left out.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A word that differs from try to try, or that nobody should read: an address, an id of a request, a credential.
fn is_opaque(word: &str) -> bool {
    let bare = word.trim_matches(|character: char| !character.is_ascii_alphanumeric());
    if word.contains("://") {
        return true;
    }
    if bare.len() < LONG_WORD || is_known_id(bare) {
        return false;
    }
    let digits = bare.chars().any(|character| character.is_ascii_digit());
    let letters = bare.chars().any(|character| character.is_ascii_alphabetic());
    (digits && letters) || bare.len() >= 2 * LONG_WORD
}

/// Hashes of commits and ids of deploys say something and stay the same.
fn is_known_id(word: &str) -> bool {
    let hexadecimal = word.chars().all(|character| character.is_ascii_hexdigit());
    (hexadecimal && matches!(word.len(), 24 | 40)) || word.starts_with("dep-") || word.starts_with("refs/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_control_characters_and_addresses_go() {
        let said = vendor_text("bad\u{1b}[31m key rnd_Ab\nat https://x.example/?key=1 (rnd_Ab)", "rnd_Ab");
        assert_eq!(said, "bad [31m key … at … (…)");
    }

    #[test]
    fn the_same_refusal_reads_the_same_on_every_try() {
        let first = vendor_text("request 6f1c1c2e-8b43-4f5e-9d38-0a8f3c1b2d4e failed", "rnd_x");
        let second = vendor_text("request 0e9d7a11-1111-4f5e-9d38-ffffffffffff failed", "rnd_x");
        assert_eq!(first, second);
    }

    #[test]
    fn commits_and_deploys_stay() {
        let text = "deploy dep-ck3v2l1q8s7s73f5abcd is at 0123456789abcdef0123456789abcdef01234567";
        assert_eq!(vendor_text(text, "rnd_x"), text);
    }

    #[test]
    fn a_text_without_end_is_cut_by_characters() {
        assert_eq!(vendor_text(&"ä ".repeat(500), "rnd_x").chars().count(), 160);
    }
}
