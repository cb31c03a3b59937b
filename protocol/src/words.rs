//! The values that clients, brokers and workers exchange: ids, keys, tasks, jobs, limits, outcomes.
//!
//! Plain data without logic, decoded once at the edge.

pub mod address;
pub mod advice;
pub mod argument;
pub mod backtrace;
pub mod dead;
pub mod function;
pub mod gathering;
pub mod graph_entry;
pub mod id;
pub mod input_name;
pub mod job;
pub mod kind;
pub mod labels;
pub mod limits_max;
pub mod location;
pub mod metric;
pub mod observer;
pub mod outcome;
pub mod output;
pub mod part;
pub mod presence;
pub mod published;
pub mod reference;
pub mod signature;
pub mod size;
pub mod subtask;
pub mod task;
pub mod tenant;
pub mod term;
pub mod text;
pub mod time;
