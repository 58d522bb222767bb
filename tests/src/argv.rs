//! Command lines as redis-cli reads them, and requests as the wire carries them.

/// The words of `line`: split at spaces; double quotes keep spaces and know `\n \r \t \\ \" \xHH`, single
/// quotes keep everything but `\'`.
///
/// # Panics
/// Where a quote is not closed or an escape is unknown.
#[must_use]
pub fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start().as_bytes();
    while let Some(&first) = rest.first() {
        let (word, used) = match first {
            b'"' => double_quoted(rest, line),
            b'\'' => single_quoted(rest, line),
            _ => plain(rest),
        };
        words.push(word);
        rest = rest[used..].trim_ascii_start();
    }
    words
}

/// `argv` as one request frame.
#[must_use]
pub fn frame<A: AsRef<[u8]>>(argv: &[A]) -> Vec<u8> {
    let mut frame = format!("*{}\r\n", argv.len()).into_bytes();
    for arg in argv {
        let arg = arg.as_ref();
        frame.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        frame.extend_from_slice(arg);
        frame.extend_from_slice(b"\r\n");
    }
    frame
}

fn plain(rest: &[u8]) -> (Vec<u8>, usize) {
    let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    (rest[..end].to_vec(), end)
}

fn single_quoted(rest: &[u8], line: &str) -> (Vec<u8>, usize) {
    let mut word = Vec::new();
    let mut at = 1;
    loop {
        match rest.get(at..).unwrap_or_default() {
            [b'\\', b'\'', ..] => {
                word.push(b'\'');
                at += 2;
            }
            [b'\'', ..] => return (word, at + 1),
            [byte, ..] => {
                word.push(*byte);
                at += 1;
            }
            [] => panic!("a quote is not closed: {line}"),
        }
    }
}

fn double_quoted(rest: &[u8], line: &str) -> (Vec<u8>, usize) {
    let mut word = Vec::new();
    let mut at = 1;
    loop {
        match rest.get(at..).unwrap_or_default() {
            [b'\\', b'x', hex @ ..] => {
                let digits = std::str::from_utf8(&hex[..2]).expect("two hexadecimal digits");
                word.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
                at += 4;
            }
            [b'\\', escaped, ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'\\' | b'"' => *escaped,
                    _ => panic!("unknown escape: {line}"),
                });
                at += 2;
            }
            [b'"', ..] => return (word, at + 1),
            [byte, ..] => {
                word.push(*byte);
                at += 1;
            }
            [] => panic!("a quote is not closed: {line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_spaces_and_escapes_give_any_byte() {
        assert_eq!(words(r#"SET "a b" '\x' "\x00\"" """#), [&b"SET"[..], b"a b", b"\\x", b"\0\"", b""]);
    }

    #[test]
    fn a_frame_is_canonical() {
        assert_eq!(frame(&["GET", ""]), b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n");
    }
}
