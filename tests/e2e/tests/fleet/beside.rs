//! A fleet, and commands that are run beside it.

use serde_json::Value;
use sortie_e2e::Fleet;
use sortie_harness::{Ran, Sortie};
use sortie_host::Worker;
use tokio::runtime::Runtime;

/// A fleet beside processes that are waited for without a runtime.
pub(crate) struct Beside {
    pub(crate) runtime: Runtime,
    pub(crate) fleet: Fleet,
    pub(crate) workers: Vec<Worker>,
}

impl Beside {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let fleet = runtime.block_on(Fleet::start());
        Self {
            runtime,
            fleet,
            workers: Vec::new(),
        }
    }

    pub(crate) fn with_worker() -> Self {
        let mut beside = Self::start();
        beside.add_worker();
        beside
    }

    pub(crate) fn add_worker(&mut self) {
        self.workers
            .push(self.runtime.block_on(self.fleet.worker(2)));
    }

    pub(crate) fn map(
        &self,
        function: &str,
        inputs: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
    ) -> Sortie {
        Sortie::map(function, inputs)
            .cache(self.fleet.cache())
            .env("SORTIE_BROKER", self.fleet.url())
    }

    pub(crate) fn call(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
    ) -> Sortie {
        Sortie::call(function, arguments)
            .cache(self.fleet.cache())
            .env("SORTIE_BROKER", self.fleet.url())
    }

    /// The name of the only job, once there is one.
    pub(crate) fn job(&self) -> String {
        // Asking takes a while itself, so this is a minute at least.
        for _ in 0..2000 {
            let listed = self.sortie(&["job", "list", "--json"]).run().code(0);
            if !listed.stdout.is_empty() {
                return listed.value()["job"].as_str().unwrap().to_owned();
            }
        }
        panic!("no job was submitted")
    }

    pub(crate) fn sortie(&self, words: &[&str]) -> Sortie {
        Sortie::new(words).env("SORTIE_BROKER", self.fleet.url())
    }

    /// Submit and leave; the job's name.
    pub(crate) fn detach(&self, function: &str, inputs: &[&str]) -> String {
        let ran = self
            .map(function, inputs)
            .args(["--detach"])
            .run()
            .code(0)
            .says(&["sortie job gather"]);
        let job = ran.stdout.trim().to_owned();
        assert!(job.starts_with("job-") && !job.contains('\n'), "{ran}");
        job
    }
}

/// What became of each input, in order, without what differs from run to run.
pub(crate) fn results(ran: &Ran) -> Vec<(u64, Value, Value, Value)> {
    let one = |record: &Value| {
        (
            record["index"].as_u64().unwrap(),
            record["status"].clone(),
            record["value"].clone(),
            record["error"]["code"].clone(),
        )
    };
    let mut results: Vec<_> = ran.records().iter().map(one).collect();
    results.sort_by_key(|(index, ..)| *index);
    results
}

#[track_caller]
pub(crate) fn refused(ran: Ran, code: i32, parts: &[&str]) {
    let ran = ran.code(code).says(parts);
    assert!(
        ran.stderr.starts_with("error: ") && ran.stderr.trim_end().lines().count() == 1,
        "{ran}"
    );
}
