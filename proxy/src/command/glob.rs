//! The servers' patterns: `*`, `?`, `[a-z]`, `[^a]`, and a backslash before what stands for itself.

/// A pattern longer than this matches nothing, so that matching has a bounded cost.
const LONGEST_PATTERN: usize = 256;

/// Whether all of `text` matches `pattern`, letters in either case alike.
#[must_use]
pub fn matches_any_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_folded(pattern, text, |byte| byte.to_ascii_lowercase())
}

/// Whether all of `text` matches `pattern`.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_folded(pattern, text, |byte| byte)
}

/// After a mismatch only the last `*` is tried again, so the time is bounded by the product of the lengths.
/// Bytes are alike where `fold` makes one of them.
fn matches_folded(pattern: &[u8], text: &[u8], fold: fn(u8) -> u8) -> bool {
    if pattern.len() > LONGEST_PATTERN {
        return false;
    }
    let (mut rest, mut left) = (pattern, text);
    // What follows the last star, and what of the text it has not swallowed yet.
    let mut star: Option<(&[u8], &[u8])> = None;
    while let Some((&byte, behind)) = left.split_first() {
        if let [b'*', after @ ..] = rest {
            star = Some((after, left));
            rest = after;
        } else if let Some(after) = match_one(rest, byte, fold) {
            (rest, left) = (after, behind);
        } else if let Some((after, [_, swallowed @ ..])) = star {
            star = Some((after, swallowed));
            (rest, left) = (after, swallowed);
        } else {
            return false;
        }
    }
    rest.iter().all(|byte| *byte == b'*')
}

/// The pattern behind its first element, where that matches `byte`.
fn match_one(pattern: &[u8], byte: u8, fold: fn(u8) -> u8) -> Option<&[u8]> {
    let (matches, rest) = match pattern {
        [] => return None,
        [b'?', rest @ ..] => (true, rest),
        [b'[', class @ ..] => match_class(class, byte, fold),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (fold(*literal) == fold(byte), rest),
    };
    matches.then_some(rest)
}

/// Whether `byte` is in the class that begins behind its bracket, and what follows the class. A class that
/// isn't closed ends with the pattern.
fn match_class(class: &[u8], byte: u8, fold: fn(u8) -> u8) -> (bool, &[u8]) {
    let (negated, mut rest) = class.strip_prefix(b"^").map_or((false, class), |rest| (true, rest));
    let folded = fold(byte);
    let mut found = false;
    loop {
        rest = match rest {
            [] => return (found != negated, rest),
            [b']', rest @ ..] => return (found != negated, rest),
            [b'\\', literal, rest @ ..] => {
                found |= fold(*literal) == folded;
                rest
            }
            [from, b'-', to, rest @ ..] => {
                let (from, to) = (fold(*from), fold(*to));
                found |= (from.min(to)..=from.max(to)).contains(&folded);
                rest
            }
            [literal, rest @ ..] => {
                found |= fold(*literal) == folded;
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        matches_any_case(pattern.as_bytes(), text.as_bytes())
    }

    #[test]
    fn patterns_match_as_the_servers_match_them() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("get", "GET"),
            ("g?t", "get"),
            ("x*", "xadd"),
            ("*a*d*", "xadd"),
            ("[a-c]et", "Bet"),
            ("[^a-c]et", "get"),
            ("[\\]]", "]"),
            ("[g", "g"),
            ("\\*", "*"),
            ("a**", "a"),
            ("*|get", "config|get"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("g?t", "gt"),
            ("x*", "get"),
            ("[^g]et", "get"),
            ("\\*", "a"),
            ("*b", "abc"),
            ("?", ""),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches(&"*".repeat(257), "get"));
    }

    proptest! {
        #[test]
        fn any_pattern_is_tried_without_panic(pattern in "[a*?\\[\\]^\\\\-]{0,20}", text in "[ab]{0,20}") {
            let _ = matches(&pattern, &text);
        }

        #[test]
        fn a_text_matches_itself_and_stars_around_its_parts(text in "[a-z|]{0,20}", cut in 0usize..20) {
            let (head, tail) = text.split_at(cut.min(text.len()));
            let patterns = [&text, &format!("{head}*"), &format!("*{tail}"), &format!("{head}*{tail}")];
            for pattern in patterns {
                prop_assert!(matches(pattern, &text), "{} {}", pattern, text);
            }
        }
    }
}
