//! Describes functions: the names, documentation and parameter types that `sortie inspect` prints
//! and that calls are checked against.
//!
//! All of it is written by the attribute at compile time and lies in read-only memory; making a
//! description allocates nothing.

/// How an argument travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As a CBOR item, read with serde.
    Value,
    /// As a handle to an object.
    Object,
    /// As a handle to a prefix.
    Prefix,
    /// As a list of handles to objects.
    Objects,
}

/// One parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in the source.
    pub name: &'static str,
    /// Whether it takes a value, an object, a prefix or a list of objects.
    pub kind: Kind,
    /// Its type as written in the source.
    pub type_name: &'static str,
}

/// One function of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The name by which it is called.
    pub name: &'static str,
    /// Its doc comment, Markdown; empty when there is none.
    pub doc: &'static str,
    /// Its parameters, in order.
    pub parameters: &'static [Parameter],
    /// The type of its result as written in the source; `T` for a `Result<T, _>`.
    pub returns: &'static str,
}
