//! Links components: gives each import its host functions, and checks what a component imports
//! against the table of interfaces and against the grants of a job.
//!
//! An interface that the table does not have is refused here, for every job. One that needs a grant
//! is linked; whether a job may run the component is checked for that job, against
//! [`Linked::needs`], before an instance is made.

use std::collections::BTreeSet;
use std::fmt;

use sortie_protocol::grants::Need;
use wasmtime::component::Linker;

use super::bindings::TaskPre;
use super::imports::{self, Import, Needs};
use super::state::State;
use crate::engine::Engine;
use crate::engine::compile::{Code, one_line};
use crate::engine::structure::Structure;

/// Why a component cannot be linked. Each text continues the name of the file, and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It imports what is not provided.
    #[error(
        "needs {}, which Sortie does not provide; functions have no files, sockets or other \
         authority beyond their arguments",
        .0.join(", ")
    )]
    Imports(Vec<String>),
    /// It does not export the contract.
    #[error(
        "does not export `sortie:task/handler@{}`, so it has no Sortie functions; write them with \
         the sortie-guest crate",
        sortie_protocol::CONTRACT_VERSION
    )]
    NoHandler,
}

/// A component that is linked and checked, ready to be instantiated.
#[derive(Clone)]
pub(crate) struct Linked {
    pub(super) pre: TaskPre<State>,
    needs: Vec<Need>,
}

impl fmt::Debug for Linked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linked")
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

impl Linked {
    /// The imports that need a grant.
    pub(crate) fn needs(&self) -> &[Need] {
        &self.needs
    }
}

/// The interface that every component exports, without its version.
const HANDLER: &str = "sortie:task/handler";

/// Check what a component imports and exports by name, before it is compiled.
pub(crate) fn check(structure: &Structure) -> Result<(), LinkError> {
    resolve(&structure.imports, imports::all::<State>().collect())?;
    let is_handler = |name: &String| interface(name) == HANDLER;
    if structure.exports.iter().any(is_handler) {
        Ok(())
    } else {
        Err(LinkError::NoHandler)
    }
}

/// An interface's name without its version: which versions fit is for the linker to say.
fn interface(name: &str) -> String {
    name.split('@').next().unwrap_or_default().to_owned()
}

/// Link a component to the interfaces that it imports, and to no others.
pub(crate) fn link(engine: &Engine, code: &Code) -> Result<Linked, LinkError> {
    let Resolved { links, needs } = resolve(&code.imports, imports::all::<State>().collect())?;
    let mut linker = Linker::new(&engine.inner);
    let unlinkable = |error: wasmtime::Error| LinkError::Imports(vec![one_line(&error)]);
    for import in links {
        (import.link)(&mut linker).map_err(unlinkable)?;
    }
    let linked = linker
        .instantiate_pre(&code.component)
        .map_err(unlinkable)?;
    let pre = TaskPre::new(linked).map_err(|_| LinkError::NoHandler)?;
    Ok(Linked { pre, needs })
}

/// What a component's imports come to.
struct Resolved<T: 'static> {
    /// The interfaces to link, each once.
    links: Vec<Import<T>>,
    /// The imports that need a grant.
    needs: Vec<Need>,
}

/// Find each import in the table. Those that are not there are refused together, so that all are
/// named at once.
fn resolve<T: 'static>(names: &[String], table: Vec<Import<T>>) -> Result<Resolved<T>, LinkError> {
    let wanted: BTreeSet<String> = names.iter().map(|name| interface(name)).collect();
    let links: Vec<Import<T>> = table
        .into_iter()
        .filter(|import| wanted.contains(import.interface))
        .collect();
    let mut missing = Vec::new();
    let mut needs = Vec::new();
    for name in names {
        let found = links
            .iter()
            .find(|import| import.interface == interface(name));
        match found.map(|import| import.needs) {
            None => missing.push(format!("`{name}`")),
            Some(Needs::Nothing) => {}
            Some(Needs::Grant(grant)) => needs.push(Need {
                import: name.clone(),
                grant,
            }),
        }
    }
    if missing.is_empty() {
        Ok(Resolved { links, needs })
    } else {
        Err(LinkError::Imports(missing))
    }
}

#[cfg(test)]
mod tests {
    use sortie_protocol::Grant;

    use super::*;

    const CLOCK: &str = "acme:time/now@1.0.0";

    /// A table of two interfaces, one of which needs a grant.
    fn table() -> Vec<Import<()>> {
        let import = |interface, needs| Import {
            interface,
            needs,
            link: |_| Ok(()),
        };
        vec![
            import("sortie:task/log", Needs::Nothing),
            import("acme:time/now", Needs::Grant(Grant::Clock)),
        ]
    }

    fn resolved(names: &[&str]) -> Result<Resolved<()>, LinkError> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        resolve(&names, table())
    }

    #[test]
    fn only_what_is_imported_is_linked_and_each_interface_once() {
        let names = [CLOCK, "acme:time/now@1.2.0", "sortie:task/log@0.2.0"];
        let links = resolved(&names).unwrap().links;
        let linked: Vec<&str> = links.iter().map(|import| import.interface).collect();
        assert_eq!(linked, ["sortie:task/log", "acme:time/now"]);
    }

    #[test]
    fn imports_that_are_not_in_the_table_are_all_named() {
        let names = ["wasi:http/types@0.2.0", CLOCK, "acme:db/query@1.0.0"];
        let Err(error) = resolved(&names) else {
            panic!("they were linked");
        };
        let text = error.to_string();
        let named = "needs `wasi:http/types@0.2.0`, `acme:db/query@1.0.0`, which";
        assert!(text.starts_with(named), "{text}");
    }

    #[test]
    fn imports_that_need_a_grant_are_linked_and_told() {
        let Resolved { links, needs } = resolved(&[CLOCK, "sortie:task/log@0.2.0"]).unwrap();
        assert_eq!(links.len(), 2);
        let need = Need {
            import: CLOCK.into(),
            grant: Grant::Clock,
        };
        assert_eq!(needs, [need]);
    }
}
