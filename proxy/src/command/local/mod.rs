//! Answers of the proxy's own that need no backend, one file a command. Pure: request in, reply out.

pub mod cluster;

pub mod command;

#[cfg(test)]
mod tests {
    use crate::command::spec::Spec;
    use crate::command::table::{Lookup, Table};
    use crate::resp::protocol::Protocol;
    use crate::resp::reply_writer::ReplyWriter;
    use crate::resp::request::{ArgRange, Request};

    /// What `answer` writes for the command `line`, with a blank for every CRLF.
    pub(super) fn answered(
        protocol: Protocol,
        line: &str,
        answer: impl FnOnce(&Table, &Spec, Request<'_>, &mut ReplyWriter<'_>),
    ) -> String {
        let mut start = 0;
        let ranges = line.split(' ').map(|word| {
            let range = ArgRange { start, len: u32::try_from(word.len()).unwrap() };
            start += range.len + 1;
            range
        });
        let argv: Vec<_> = ranges.collect();
        let request = Request::new(line.as_bytes(), &argv);
        let table = Table::builtin();
        let Lookup::Found(spec) = table.find(&request) else { panic!("{line}: no such command") };
        let mut out = Vec::new();
        answer(&table, spec, request, &mut ReplyWriter::new(&mut out, protocol));
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }
}
