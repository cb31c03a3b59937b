//! Subtasks: tasks that a task makes.
//!
//! They are a job of their own, which has a [`Parent`]. Its id follows from the task that makes
//! them, so that another attempt of the task finds those of the first.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::id::{DigestBuilder, JobId, TaskIndex};
use crate::tenant::JobKey;

/// The most levels of subtasks below a task that a client submitted: a recursion that halves its
/// work sixteen times makes 65,536 leaves.
pub const DEPTH_MAX: u32 = 16;
/// The most subtasks of one task.
pub const FAN_OUT_MAX: u64 = 10_000;
/// The most subtasks below the tasks of one submitted job that one worker makes.
pub const OF_JOB_MAX: u64 = 1_000_000;

/// Whose subtasks the tasks of a job are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Parent {
    /// The job of the task that made them.
    #[n(0)]
    pub job: JobId,
    /// That task.
    #[n(1)]
    pub task: TaskIndex,
    /// How many levels above them there are, from 1.
    #[n(2)]
    pub depth: u32,
    /// The job that a client submitted, above all of them.
    #[n(3)]
    pub root: JobId,
}

impl Parent {
    /// Of the subtasks of a task in a job, which may itself be one of subtasks. `None`: that would
    /// be too deep.
    #[must_use]
    pub fn of(job: JobKey, above: Option<Self>, task: TaskIndex) -> Option<Self> {
        // What is above is as its record says, which a client wrote.
        let depth = above.map_or(0, |above| above.depth).saturating_add(1);
        (depth <= DEPTH_MAX).then_some(Self {
            job: job.job,
            task,
            depth,
            root: above.map_or(job.job, |above| above.root),
        })
    }

    /// The job of the subtasks of a task of the job `of`. `seed` is what they follow from: attempts
    /// with the same seed have the same subtasks, and others have others.
    #[must_use]
    pub fn subtasks(&self, of: JobKey, seed: &[u8]) -> JobKey {
        let mut digest = DigestBuilder::default();
        digest.update(b"subtasks");
        digest.update(of.tenant.as_str().as_bytes());
        digest.update(self.job.as_bytes());
        digest.update(&self.task.to_be_bytes());
        digest.update(seed);
        let mut id = [0; 16];
        id.copy_from_slice(&digest.finish().as_bytes()[..16]);
        JobKey {
            tenant: of.tenant,
            job: JobId::from_bytes(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::TenantId;

    fn key(job: u8) -> JobKey {
        JobKey {
            tenant: TenantId::default(),
            job: JobId::from_bytes([job; 16]),
        }
    }

    #[test]
    fn a_recursion_ends_at_the_deepest_level() {
        let (mut above, mut levels) = (None, 0);
        while let Some(parent) = Parent::of(key(1), above, 0) {
            assert_eq!(parent.root, key(1).job);
            above = Some(parent);
            levels += 1;
        }
        assert_eq!(levels, DEPTH_MAX);
    }

    #[test]
    fn each_task_and_each_of_its_inputs_has_subtasks_of_its_own() {
        let parent = |task| Parent::of(key(1), None, task).unwrap();
        let other = JobKey {
            tenant: "globex".parse().unwrap(),
            ..key(1)
        };
        let of = parent(3).subtasks(key(1), b"a");
        assert_eq!(of, parent(3).subtasks(key(1), b"a"));
        assert_ne!(of, parent(4).subtasks(key(1), b"a"));
        assert_ne!(of, parent(3).subtasks(key(1), b"b"));
        let elsewhere = parent(3).subtasks(other, b"a");
        assert_ne!(of.job, elsewhere.job);
        assert_eq!(elsewhere.tenant, other.tenant);
    }
}
