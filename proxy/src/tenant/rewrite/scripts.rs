//! Scripts: what goes in front of them, and the prefix that it is told behind all arguments.

use super::{Asker, Rewriter, Unwritable};
use crate::command::digest::Digest;
use crate::command::spec::Spec;
use crate::resp::request::Request;
use crate::tenant::script::Names;

/// In the place of a name that no script of the tenant has: the servers know none of this name, and say so in their own
/// words and at their own time, which in a transaction is EXEC.
const NOBODYS: &str = "0000000000000000000000000000000000000000";

impl Rewriter {
    /// `EVAL script numkeys key ... argument ...`.
    pub(super) fn write_body(
        &mut self,
        asker: &Asker,
        spec: &Spec,
        request: &Request<'_>,
        names: &Names,
    ) -> Result<(), Unwritable> {
        self.find_keys(spec, request)?;
        let script = names.note(asker.namespace.id(), request.arg(1).unwrap_or_default());
        self.write_call(asker, request, &script)
    }

    /// `EVALSHA sha1 numkeys key ... argument ...`.
    pub(super) fn write_called(
        &mut self,
        asker: &Asker,
        spec: &Spec,
        request: &Request<'_>,
        names: &Names,
    ) -> Result<(), Unwritable> {
        self.find_keys(spec, request)?;
        let own = Digest::parse(request.arg(1).unwrap_or_default());
        let wrapped = own.and_then(|own| names.of(asker.namespace.id(), own));
        let name = wrapped.map_or_else(|| NOBODYS.to_owned(), |wrapped| wrapped.to_string());
        self.write_call(asker, request, name.as_bytes())
    }

    /// `SCRIPT LOAD script`.
    pub(super) fn write_load(&mut self, asker: &Asker, request: &Request<'_>, names: &Names) {
        let script = names.note(asker.namespace.id(), request.arg(2).unwrap_or_default());
        self.begin(3);
        self.keep(request, 0);
        self.keep(request, 1);
        self.push(&[&script]);
    }

    /// The call of `script`, whose keys were found.
    fn write_call(&mut self, asker: &Asker, request: &Request<'_>, script: &[u8]) -> Result<(), Unwritable> {
        self.begin(request.len() + 1);
        self.write_arguments(asker, request, Some((1, script)))?;
        self.push(&[asker.prefix().as_bytes()]);
        Ok(())
    }
}
