//! The contract of `wit/sortie-task`, as wasmtime's macro turns it into Rust.
//!
//! The resource types of the contract are those of [`super::imports::handles`]. Functions that can
//! wait for objects, for the output store or for subtasks are async; all others answer at once.

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit/sortie-task",
        world: "task",
        imports: {
            "sortie:task/objects.[method]object.read-at": async | trappable,
            "sortie:task/objects.[method]reader.next": async | trappable,
            "sortie:task/objects.[method]prefix.open": async | trappable,
            "sortie:task/objects.[method]listing.next": async | trappable,
            "sortie:task/objects.[method]writer.write": async | trappable,
            "sortie:task/objects.[static]writer.finish": async | trappable,
            "sortie:task/tasks.[method]group.spawn": async | trappable,
            "sortie:task/tasks.[method]group.wait-all": async | trappable,
            "sortie:task/tasks.[method]group.next": async | trappable,
            "sortie:task/tasks.[method]group.result": async | trappable,
            "sortie:task/tasks.[method]group.cancel": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "sortie:task/objects.object": crate::sandbox::imports::handles::Handle,
            "sortie:task/objects.reader": crate::sandbox::imports::handles::Reader,
            "sortie:task/objects.prefix": crate::sandbox::imports::handles::Prefix,
            "sortie:task/objects.listing": crate::sandbox::imports::handles::Listing,
            "sortie:task/objects.writer": crate::sandbox::imports::handles::Writer,
            "sortie:task/objects.output": crate::sandbox::imports::handles::Output,
            "sortie:task/tasks.group": crate::sandbox::imports::handles::Group,
        },
    });
}

pub(super) use generated::TaskPre;
pub(super) use generated::exports::sortie::task::handler;
pub(super) use generated::sortie::task::{log, objects, tasks};
