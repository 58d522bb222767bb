//! Requests of our own, as bytes. Pure.

use std::io::Write;

/// Appends the request of these words to `out`.
pub fn append(words: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
    // Writing to a vector does not fail.
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let word = word.as_ref();
        let _ = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_written_with_their_lengths() {
        let mut out = Vec::new();
        append(&["PING"], &mut out);
        append(&[&b"GET"[..], b"a\r\nb"], &mut out);
        assert_eq!(out, b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n");
    }
}
