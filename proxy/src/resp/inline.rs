//! Inline commands: a line of words, as typed into telnet. Made into a canonical request at once, so that
//! nothing behind the scanner needs to know of them.

use super::scan::ProtocolError;

/// The request that `line` (its end included) means; empty where the line holds no word.
///
/// Words are separated by white space and may be quoted: `"..."` knows the escapes `\xHH \n \r \t \b \a`
/// and takes any other escaped byte as it is, `'...'` knows only `\'`: the rules of the servers' `sdssplitargs`.
///
/// # Errors
/// A quote that is not closed, or is followed by something other than white space; an HTTP request line.
pub fn canonical(line: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    let words = split_words(line)?;
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    // The servers close such connections at once: a web page could post commands to us.
    if first.eq_ignore_ascii_case(b"post") || first.eq_ignore_ascii_case(b"host:") {
        return Err(ProtocolError::CrossProtocol);
    }
    let mut frame = format!("*{}\r\n", words.len()).into_bytes();
    for word in &words {
        frame.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        frame.extend_from_slice(word);
        frame.extend_from_slice(b"\r\n");
    }
    Ok(frame)
}

fn split_words(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, behind) = take_word(rest)?;
        words.push(word);
        rest = behind.trim_ascii_start();
    }
    Ok(words)
}

/// The first word of `text`, which doesn't begin with white space, and what stands behind it.
fn take_word(text: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtocolError> {
    let mut word = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [] => return Ok((word, rest)),
            [space, ..] if space.is_ascii_whitespace() || *space == 0 => return Ok((word, &rest[1..])),
            [quote @ (b'"' | b'\''), inside @ ..] => {
                rest = take_quoted(*quote, inside, &mut word)?;
                return match rest {
                    [next, ..] if !next.is_ascii_whitespace() => Err(ProtocolError::UnbalancedQuotes),
                    _ => Ok((word, rest)),
                };
            }
            [byte, behind @ ..] => {
                word.push(*byte);
                rest = behind;
            }
        }
    }
}

/// Adds what stands before the closing `quote` to `word`; returns what stands behind it.
fn take_quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        match rest {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'\\', b'x', high, low, behind @ ..] if quote == b'"' && is_hex(*high) && is_hex(*low) => {
                word.push(hex(*high) << 4 | hex(*low));
                rest = behind;
            }
            [b'\\', escaped, behind @ ..] if quote == b'"' => {
                word.push(unescape(*escaped));
                rest = behind;
            }
            [b'\\', b'\'', behind @ ..] if quote == b'\'' => {
                word.push(b'\'');
                rest = behind;
            }
            [byte, behind @ ..] if *byte == quote => return Ok(behind),
            [byte, behind @ ..] => {
                word.push(*byte);
                rest = behind;
            }
        }
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_canonical_request() {
        assert_eq!(canonical(b"  PING  hi\r\n").unwrap(), b"*2\r\n$4\r\nPING\r\n$2\r\nhi\r\n");
        assert_eq!(canonical(b"\r\n").unwrap(), b"");
    }

    #[test]
    fn quotes_and_escapes_are_those_of_the_servers() {
        assert_eq!(
            split_words(br#"set "a b\n\x41\"" 'it\'s' ''"#).unwrap(),
            [&b"set"[..], b"a b\nA\"", b"it's", b""]
        );
        for open in [&br#"set "a"#[..], br#"set "a"b"#, b"set 'a", br#"set "a\"#] {
            assert_eq!(canonical(open), Err(ProtocolError::UnbalancedQuotes));
        }
    }

    #[test]
    fn http_is_recognised() {
        assert_eq!(canonical(b"POST / HTTP/1.1\r\n"), Err(ProtocolError::CrossProtocol));
        assert_eq!(canonical(b"Host: here\r\n"), Err(ProtocolError::CrossProtocol));
    }
}
