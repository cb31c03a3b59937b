//! One function per behaviour that a host has to live with, named by it.
//!
//! Tests call these through a host and look at what becomes of the task and of its neighbours. A
//! function here does one thing and returns what a test can compare; it never checks anything
//! itself. The hostile ones do what they say without end: a host without limits hangs.

mod answers;
mod computes;
mod ends;
mod floods;
mod memory;
mod objects;
mod outputs;
mod prefixes;
mod probes;
mod subtasks;
