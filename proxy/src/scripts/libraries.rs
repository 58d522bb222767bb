//! Libraries of functions, as FUNCTION LIST tells them.

use crate::resp::value::Value;

/// One library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Library {
    /// The name that it is loaded and deleted by.
    pub name: Vec<u8>,
    /// What can be called.
    functions: Vec<Vec<u8>>,
    /// What FUNCTION LOAD takes; empty where it was not asked for.
    pub code: Vec<u8>,
}

/// What a reply to FUNCTION LIST, with WITHCODE or without, tells; `None` where it is none.
#[must_use]
pub fn parse(reply: &[u8]) -> Option<Vec<Library>> {
    let value = Value::parse(reply).ok()?;
    value.list()?.iter().map(library).collect()
}

fn library(value: &Value<'_>) -> Option<Library> {
    let function = |value: &Value<'_>| Some(value.field("name")?.text()?.to_vec());
    Some(Library {
        name: value.field("library_name")?.text()?.to_vec(),
        functions: value.field("functions")?.list()?.iter().map(function).collect::<Option<_>>()?,
        code: value.field("library_code").and_then(Value::text).unwrap_or_default().to_vec(),
    })
}

/// Whether one of them has this function; the servers take either case.
#[must_use]
pub fn have(libraries: &[Library], function: &[u8]) -> bool {
    let mut names = libraries.iter().flat_map(|library| &library.functions);
    names.any(|name| name.eq_ignore_ascii_case(function))
}

/// Those of `there` that are not `here`.
pub fn missing<'a>(here: &'a [Library], there: &'a [Library]) -> impl Iterator<Item = &'a Library> {
    there.iter().filter(|library| here.iter().all(|own| own.name != library.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESP2: &[u8] =
        b"*1\r\n*8\r\n$12\r\nlibrary_name\r\n$3\r\nlib\r\n$6\r\nengine\r\n$3\r\nLUA\r\n$9\r\nfunctions\r\n\
        *1\r\n*6\r\n$4\r\nname\r\n$1\r\nf\r\n$11\r\ndescription\r\n$-1\r\n$5\r\nflags\r\n*0\r\n\
        $12\r\nlibrary_code\r\n$4\r\ncode\r\n";
    const RESP3: &[u8] =
        b"*1\r\n%3\r\n$12\r\nlibrary_name\r\n$3\r\nlib\r\n$6\r\nengine\r\n$3\r\nLUA\r\n$9\r\nfunctions\r\n\
        *1\r\n%3\r\n$4\r\nname\r\n$1\r\nf\r\n$11\r\ndescription\r\n_\r\n$5\r\nflags\r\n~0\r\n";

    #[test]
    fn libraries_are_read_in_both_protocols() {
        let with_code = Library { name: b"lib".into(), functions: vec![b"f".into()], code: b"code".into() };
        assert_eq!(parse(RESP2), Some(vec![with_code.clone()]));
        assert_eq!(parse(RESP3), Some(vec![Library { code: Vec::new(), ..with_code }]));
        assert_eq!(parse(b"*0\r\n"), Some(Vec::new()));
        for bad in [&b"-ERR unknown command\r\n"[..], b"*1\r\n:1\r\n", b"*1\r\n*0\r\n", b"*1\r\n"] {
            assert_eq!(parse(bad), None);
        }
    }

    #[test]
    fn what_is_missing_is_told_by_the_names_of_libraries() {
        let there = parse(RESP2).unwrap();
        assert!(have(&there, b"F") && !have(&there, b"g") && !have(&[], b"f"));
        assert_eq!(missing(&[], &there).count(), 1);
        assert_eq!(missing(&there, &there).count(), 0);
    }
}
