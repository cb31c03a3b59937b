//! The command line of a task: no arguments, no environment, an empty standard input, and an output
//! that goes to the task's log.
//!
//! A call of `exit` ends the instance, and the attempt as trapped: a function returns. The
//! interface's `exit`, which languages' libraries call, tells success from failure and has no
//! number: of `exit(3)` it is known that it is not `exit(0)`.

use bytes::Bytes;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, Pollable, StreamError, StreamResult,
};

use crate::sandbox::imports::log::{LogBuffer, LogStream};

/// The function ended its instance instead of returning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::sandbox) enum Exit {
    /// Without a failure.
    #[error("the function exited instead of returning")]
    Success,
    /// With a failure, of which no number is told.
    #[error("the function exited with a failure instead of returning")]
    Failure,
    /// With this number.
    #[error("the function exited with code {0} instead of returning")]
    Code(u8),
}

/// A task's streams, in the store that runs it.
pub(in crate::sandbox) struct CliCtxView<'a> {
    pub(in crate::sandbox) log: &'a LogBuffer,
    pub(in crate::sandbox) table: &'a mut ResourceTable,
}

/// Finds a task's streams in the data of its store.
pub(in crate::sandbox) trait CliView: Send {
    fn cli(&mut self) -> CliCtxView<'_>;
}

/// Tells wasmtime that the host functions work on a [`CliCtxView`].
pub(in crate::sandbox::imports) struct HasCli;

impl HasData for HasCli {
    type Data<'a> = CliCtxView<'a>;
}

impl environment::Host for CliCtxView<'_> {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for CliCtxView<'_> {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        Err(wasmtime::Error::new(match status {
            Ok(()) => Exit::Success,
            Err(()) => Exit::Failure,
        }))
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        Err(wasmtime::Error::new(Exit::Code(code)))
    }
}

/// Standard input: at its end from the start.
struct Empty;

#[async_trait::async_trait]
impl Pollable for Empty {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl InputStream for Empty {
    fn read(&mut self, _size: usize) -> StreamResult<Bytes> {
        Err(StreamError::Closed)
    }
}

impl stdin::Host for CliCtxView<'_> {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<DynInputStream>> {
        Ok(self.table.push(Box::new(Empty) as DynInputStream)?)
    }
}

impl stdout::Host for CliCtxView<'_> {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        Ok(self
            .table
            .push(Box::new(LogStream(self.log.clone())) as DynOutputStream)?)
    }
}

impl stderr::Host for CliCtxView<'_> {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        Ok(self
            .table
            .push(Box::new(LogStream(self.log.clone())) as DynOutputStream)?)
    }
}

impl terminal_input::Host for CliCtxView<'_> {}
impl terminal_input::HostTerminalInput for CliCtxView<'_> {
    fn drop(&mut self, terminal: Resource<terminal_input::TerminalInput>) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}
impl terminal_output::Host for CliCtxView<'_> {}
impl terminal_output::HostTerminalOutput for CliCtxView<'_> {
    fn drop(
        &mut self,
        terminal: Resource<terminal_output::TerminalOutput>,
    ) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}
impl terminal_stdin::Host for CliCtxView<'_> {
    fn get_terminal_stdin(
        &mut self,
    ) -> wasmtime::Result<Option<Resource<terminal_input::TerminalInput>>> {
        Ok(None)
    }
}
impl terminal_stdout::Host for CliCtxView<'_> {
    fn get_terminal_stdout(
        &mut self,
    ) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}
impl terminal_stderr::Host for CliCtxView<'_> {
    fn get_terminal_stderr(
        &mut self,
    ) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_told_where_there_is_one() {
        let (log, mut table) = (
            LogBuffer::new(sortie_protocol::ByteSize(0)),
            ResourceTable::new(),
        );
        let mut cli = CliCtxView {
            log: &log,
            table: &mut table,
        };
        for (exited, text) in [
            (exit::Host::exit(&mut cli, Ok(())), "exited instead"),
            (
                exit::Host::exit(&mut cli, Err(())),
                "with a failure instead",
            ),
            (
                exit::Host::exit_with_code(&mut cli, 3),
                "with code 3 instead",
            ),
        ] {
            let error = exited.unwrap_err();
            let exit = error.downcast_ref::<Exit>().unwrap().to_string();
            assert!(exit.contains(text), "{exit}");
        }
    }
}
