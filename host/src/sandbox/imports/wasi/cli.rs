//! The command line of a task: no arguments, no environment, an empty standard input, and an output
//! that goes to the task's log.
//!
//! A call of `exit` ends the instance, and the attempt as trapped: a function returns.

use bytes::Bytes;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, Pollable, StreamError, StreamResult,
};

use crate::sandbox::imports::log::{LogBuffer, LogStream};

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
        Err(wasmtime::Error::new(I32Exit(i32::from(status.is_err()))))
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        Err(wasmtime::Error::new(I32Exit(code.into())))
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
