//! The shape of a command's arguments, as a row of `tests/grammar/` writes it; the README there has the notation.

use std::iter::Peekable;
use std::str::SplitAsciiWhitespace;

/// What stands in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// A word as it is; in any case where it is written in capitals.
    Word(String),
    /// `<kind>`: one of the universe's.
    Kind(String),
    /// One behind the other.
    All(Vec<Self>),
    /// `( a | b )`
    One(Vec<Self>),
    /// `[ a ]`
    Maybe(Box<Self>),
    /// `{ a b }`: in any order.
    Mixed(Vec<Self>),
    /// `a+` or, where the count stands in front, `#a+`.
    Many {
        /// Whether an argument says how many follow.
        counted: bool,
        /// What is repeated.
        of: Box<Self>,
    },
    /// `a=`: as often as the last that was repeated.
    AsMany(Box<Self>),
}

impl Pattern {
    /// Reads a row's text.
    ///
    /// # Errors
    /// What is wrong with it, for whoever wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = text.split_ascii_whitespace().peekable();
        let pattern = sequence(&mut tokens, None)?;
        tokens.next().map_or(Ok(pattern), |token| Err(format!("{token:?} closes nothing")))
    }

    /// Whether a count of keys stands in it.
    #[must_use]
    pub fn counts(&self) -> bool {
        match self {
            Self::Word(_) | Self::Kind(_) | Self::AsMany(_) => false,
            Self::All(parts) | Self::One(parts) | Self::Mixed(parts) => parts.iter().any(Self::counts),
            Self::Maybe(part) => part.counts(),
            Self::Many { counted, .. } => *counted,
        }
    }

    /// The kinds in it, as often as they stand there.
    #[must_use]
    pub fn kinds(&self) -> Vec<&str> {
        match self {
            Self::Word(_) => Vec::new(),
            Self::Kind(kind) => vec![kind],
            Self::All(parts) | Self::One(parts) | Self::Mixed(parts) => {
                parts.iter().flat_map(Self::kinds).collect()
            }
            Self::Maybe(part) | Self::AsMany(part) | Self::Many { of: part, .. } => part.kinds(),
        }
    }
}

/// Everything up to the token that closes `open`; that token is left.
fn sequence(tokens: &mut Peekable<SplitAsciiWhitespace<'_>>, open: Option<&str>) -> Result<Pattern, String> {
    let mut choices = vec![Vec::new()];
    while let Some(&token) = tokens.peek() {
        if matches!(token, ")" | ")+" | ")=" | "]" | "}") {
            break;
        }
        tokens.next();
        if token == "|" && open.is_some() {
            choices.push(Vec::new());
        } else {
            let part = part(token, tokens)?;
            choices.last_mut().expect("never empty").push(part);
        }
    }
    let mut choices: Vec<Pattern> = choices.into_iter().map(Pattern::All).collect();
    Ok(if choices.len() == 1 { choices.remove(0) } else { Pattern::One(choices) })
}

fn part(token: &str, tokens: &mut Peekable<SplitAsciiWhitespace<'_>>) -> Result<Pattern, String> {
    let (counted, bare) =
        token.strip_prefix('#').filter(|rest| !rest.is_empty()).map_or((false, token), |rest| (true, rest));
    match bare {
        "(" | "[" | "{" => {
            let inner = sequence(tokens, Some(bare))?;
            let close = tokens.next().ok_or_else(|| format!("{token:?} is not closed"))?;
            match (bare, close) {
                ("(", ")") if !counted => Ok(inner),
                ("(", ")+") => Ok(Pattern::Many { counted, of: Box::new(inner) }),
                ("(", ")=") if !counted => Ok(Pattern::AsMany(Box::new(inner))),
                ("[", "]") => Ok(Pattern::Maybe(Box::new(inner))),
                ("{", "}") => {
                    let Pattern::All(parts) = inner else { return Err("| between { and }".to_owned()) };
                    Ok(Pattern::Mixed(parts))
                }
                _ => Err(format!("{token:?} is closed by {close:?}")),
            }
        }
        _ => Ok(atom(token, counted, bare)),
    }
}

fn atom(token: &str, counted: bool, bare: &str) -> Pattern {
    let Some(rest) = bare.strip_prefix('<') else { return Pattern::Word(token.to_owned()) };
    match rest.split_once('>') {
        Some((kind, "")) if !counted => Pattern::Kind(kind.to_owned()),
        Some((kind, "+")) => Pattern::Many { counted, of: Box::new(Pattern::Kind(kind.to_owned())) },
        Some((kind, "=")) if !counted => Pattern::AsMany(Box::new(Pattern::Kind(kind.to_owned()))),
        _ => Pattern::Word(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_with_its_brackets() {
        let word = |text: &str| Pattern::Word(text.to_owned());
        let kind = |text: &str| Box::new(Pattern::Kind(text.to_owned()));
        let read = Pattern::parse("ZUNION #<zset>+ [ WEIGHTS <score>= ] ( A | # )").expect("a row");
        let weights = Pattern::All(vec![word("WEIGHTS"), Pattern::AsMany(kind("score"))]);
        let expected = Pattern::All(vec![
            word("ZUNION"),
            Pattern::Many { counted: true, of: kind("zset") },
            Pattern::Maybe(Box::new(weights)),
            Pattern::One(vec![Pattern::All(vec![word("A")]), Pattern::All(vec![word("#")])]),
        ]);
        assert_eq!(read, expected);
    }

    #[test]
    fn brackets_that_do_not_match_are_errors() {
        for row in ["A ( b", "A [ b )", "A b ]", "A { b | c }"] {
            assert!(Pattern::parse(row).is_err(), "{row}");
        }
    }
}
