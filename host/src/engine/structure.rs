//! Looks at a component's structure, without compiling it: what it imports and exports, and whether
//! its parts are of a size that a compiler can take.
//!
//! One pass of a parser over the bytes, in constant memory. The bounds are several times what the
//! largest components of honest toolchains have (a Python interpreter among them); what is above
//! them is made to cost its compiler time or memory. They are not enough: 19 KiB of code within
//! them have taken a minute of a core. What they do is to refuse the cheapest attacks before a
//! process is started, and to be the only bounds where there is no process to start; see
//! [`super::apart`].

use std::ops::ControlFlow;

use wasmparser::{FunctionBody, Operator, Parser, Payload};

use super::compile::Error;

/// Components and modules within each other. Toolchains nest three.
pub const NESTING_MAX: u64 = 8;
/// Components and modules together. A Python component has a hundred.
pub const PARTS_MAX: u64 = 2_000;
/// Functions in all modules together. A Python component has about 50 000.
pub const FUNCTIONS_MAX: u64 = 300_000;
/// Bytes of one function's code: the loop of a bytecode interpreter has about 100 KiB.
pub const FUNCTION_BYTES_MAX: u64 = 1 << 20;
/// Local variables of one function. A Python interpreter that was not optimised has some thousand.
pub const LOCALS_MAX: u64 = 20_000;
/// Targets of one branch table, as of a `match` over a number.
pub const BRANCH_TARGETS_MAX: u64 = 16_384;
/// Local variables times branches of one function: what a compiler's analysis of which value lives
/// where grows with.
pub const LIVENESS_MAX: u64 = 1 << 26;
/// Bytes of the types of one component or module. A Python component has 50 KiB.
pub const TYPE_BYTES_MAX: u64 = 512 << 10;

/// What a component's outermost level says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Structure {
    /// The names of what it imports.
    pub(crate) imports: Vec<String>,
    /// The names of what it exports.
    pub(crate) exports: Vec<String>,
}

/// Look through a component.
///
/// # Errors
/// When it does not parse, or a part of it is too large.
pub(crate) fn look(bytes: &[u8]) -> Result<Structure, Error> {
    let mut look = Look::default();
    for payload in Parser::new(0).parse_all(bytes) {
        if look.at(payload.map_err(invalid)?)? == ControlFlow::Break(()) {
            break;
        }
    }
    Ok(look.structure)
}

fn invalid(error: wasmparser::BinaryReaderError) -> Error {
    Error::Invalid(error.to_string())
}

fn at_most(what: &'static str, found: u64, max: u64) -> Result<(), Error> {
    if found > max {
        return Err(Error::TooComplex { what, found, max });
    }
    Ok(())
}

/// What was seen so far.
#[derive(Default)]
struct Look {
    structure: Structure,
    /// For each component and module that is open, what its types take.
    type_bytes: Vec<u64>,
    parts: u64,
    functions: u64,
}

impl Look {
    fn at(&mut self, payload: Payload<'_>) -> Result<ControlFlow<()>, Error> {
        match payload {
            Payload::Version { .. } => {
                self.type_bytes.push(0);
                self.parts += 1;
                let depth = self.type_bytes.len() as u64;
                at_most("components within each other", depth, NESTING_MAX)?;
                at_most("components and modules", self.parts, PARTS_MAX)?;
            }
            Payload::End(_) => {
                self.type_bytes.pop();
                if self.type_bytes.is_empty() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Payload::TypeSection(section) => self.types(section.range().len())?,
            Payload::CoreTypeSection(section) => self.types(section.range().len())?,
            Payload::ComponentTypeSection(section) => self.types(section.range().len())?,
            Payload::CodeSectionStart { count, .. } => {
                self.functions += u64::from(count);
                at_most("functions", self.functions, FUNCTIONS_MAX)?;
            }
            Payload::CodeSectionEntry(body) => function(&body)?,
            Payload::ComponentImportSection(section) if self.is_outermost() => {
                for import in section {
                    let name = import.map_err(invalid)?.name.name;
                    self.structure.imports.push(name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if self.is_outermost() => {
                for export in section {
                    let name = export.map_err(invalid)?.name.name;
                    self.structure.exports.push(name.to_owned());
                }
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn is_outermost(&self) -> bool {
        self.type_bytes.len() == 1
    }

    fn types(&mut self, bytes: usize) -> Result<(), Error> {
        if let Some(total) = self.type_bytes.last_mut() {
            *total = total.saturating_add(bytes as u64);
            at_most("bytes of types", *total, TYPE_BYTES_MAX)?;
        }
        Ok(())
    }
}

/// Check one function.
fn function(body: &FunctionBody<'_>) -> Result<(), Error> {
    let bytes = body.range().len() as u64;
    at_most("bytes of code in one function", bytes, FUNCTION_BYTES_MAX)?;
    let mut locals: u64 = 0;
    for local in body.get_locals_reader().map_err(invalid)? {
        let (count, _) = local.map_err(invalid)?;
        locals = locals.saturating_add(u64::from(count));
    }
    at_most("local variables in one function", locals, LOCALS_MAX)?;
    // One without locals keeps as many values on its stack as it has operators at most. Each target
    // of a branch table takes a byte.
    if locals.max(1).saturating_mul(bytes) <= LIVENESS_MAX / 64 && bytes <= BRANCH_TARGETS_MAX {
        return Ok(());
    }
    let mut branches: u64 = 0;
    let mut operators = body.get_operators_reader().map_err(invalid)?;
    while !operators.eof() {
        match operators.read().map_err(invalid)? {
            Operator::BrTable { targets } => {
                let targets = u64::from(targets.len());
                at_most("targets in one branch table", targets, BRANCH_TARGETS_MAX)?;
                branches += targets;
            }
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Br { .. }
            | Operator::BrIf { .. } => branches += 1,
            _ => {}
        }
    }
    let liveness = locals.saturating_mul(branches);
    at_most("local variables times branches", liveness, LIVENESS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(wat: &str) -> Result<Structure, Error> {
        look(&wat::parse_str(wat).unwrap())
    }

    fn refused(wat: &str) -> &'static str {
        match looked(wat) {
            Err(Error::TooComplex { what, found, max }) => {
                assert!(found > max, "{what}");
                what
            }
            other => panic!("{}: {other:?}", wat.get(..200).unwrap_or(wat)),
        }
    }

    #[test]
    fn imports_and_exports_of_the_outermost_component_are_named() {
        let structure = looked(
            "(component (import \"a:b/c\" (instance $i)) \
             (component (import \"inner\" (func))) \
             (export \"d:e/f\" (instance $i)))",
        );
        let names = |name: &str| vec![name.to_owned()];
        assert_eq!(
            structure.unwrap(),
            Structure {
                imports: names("a:b/c"),
                exports: names("d:e/f")
            }
        );
    }

    #[test]
    fn what_costs_its_compiler_too_much_is_refused() {
        let nested = format!("{}{}", "(component ".repeat(9), ")".repeat(9));
        assert_eq!(refused(&nested), "components within each other");
        let many = format!("(component {})", "(core module)".repeat(2_000));
        assert_eq!(refused(&many), "components and modules");
        let module = |body: &str| format!("(component (core module (func {body})))");
        let locals = module(&format!("(local {})", "i32 ".repeat(20_001)));
        assert_eq!(refused(&locals), "local variables in one function");
        let large = module(&"nop ".repeat(1 << 20));
        assert_eq!(refused(&large), "bytes of code in one function");
        // The last label is the default, which is no target.
        let table = module(&format!("(br_table {} (i32.const 0))", "0 ".repeat(16_386)));
        assert_eq!(refused(&table), "targets in one branch table");
        let alive = module(&format!(
            "(local {}) {}",
            "i32 ".repeat(20_000),
            "(block (br_if 0 (i32.const 0)))".repeat(4_000)
        ));
        assert_eq!(refused(&alive), "local variables times branches");
        let types = "(type (func (param i32 i32 i32 i32 i32 i32 i32 i32 i64)))".repeat(45_000);
        let types = format!("(component (core module {types}))");
        assert_eq!(refused(&types), "bytes of types");
    }

    #[test]
    fn components_of_toolchains_are_far_from_the_bounds() {
        for name in ["behaviours", "pdf-text", "arxiv-scan"] {
            let bytes = std::fs::read(sortie_harness::component(name)).unwrap();
            let structure = look(&bytes).unwrap();
            assert!(
                structure
                    .exports
                    .iter()
                    .any(|export| export.starts_with("sortie:task/handler@")),
                "{name}"
            );
        }
    }
}
