//! pip, as it is found on this machine: it fetches what is pinned by hash, and nothing else.

use anyhow::{Context, Result, bail};

use crate::command::Cmd;
use crate::project::Project;

/// How pip is called here, in the order to try.
const PIPS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];

/// A pip that runs.
pub(super) struct Pip<'a> {
    project: &'a Project,
    words: &'static [&'static str],
}

impl<'a> Pip<'a> {
    /// The first that is there.
    pub(super) fn find(project: &'a Project) -> Result<Self> {
        if !project.cmd("python3").arg("--version").succeeds() {
            bail!("python3 is not installed: on Debian, run `apt-get install python3-pip`");
        }
        let all = PIPS.iter().map(|words| Self { project, words });
        let mut working = all.filter(|pip| pip.start().arg("--version").succeeds());
        working
            .next()
            .context("pip is not installed: on Debian, run `apt-get install python3-pip`")
    }

    /// A command of it that takes wheels with the hashes that a list of requirements has.
    pub(super) fn command(&self, command: &str) -> Cmd {
        let cmd = self.start().brief(format!("pip {command}")).args([
            command,
            "--no-deps",
            "--require-hashes",
            "--only-binary",
            ":all:",
        ]);
        let cmd = cmd.args([
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--quiet",
            "--timeout",
            "20",
            "--retries",
            "2",
        ]);
        // A person who lets pip install into virtual environments only still may fetch into a
        // folder of ours.
        cmd.look("PIP_REQUIRE_VIRTUALENV", "0")
    }

    fn start(&self) -> Cmd {
        let (program, arguments) = self.words.split_first().unwrap_or((&"pip", &[]));
        self.project.cmd(program).args(arguments)
    }
}
