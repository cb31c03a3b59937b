//! Text of a folder of PDFs, the same files in one run: `sortie map`, the same engine as a native
//! program, `pdftotext`, and Dask with two Python libraries; each on two cores. Before that, what
//! comes out is compared: with the native program byte for byte, with `pdftotext` word by word.
//!
//! Each contender is a process of its own and is timed from start to end, except Dask, whose
//! cluster start is not counted. `sortie` finds its component compiled (as from the second start
//! on) and is told to run everything (`--fresh`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use serde_json::Value;
use sortie_bench::words::{score, words};
use sortie_bench::{python, run};

/// Measure the text of PDFs.
#[derive(Parser)]
struct Options {
    /// A folder of PDFs; default `$SORTIE_CORPUS/pdf`, else the samples.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// How often each file is read in one measurement by the fast contenders.
    #[arg(long, default_value_t = 20)]
    repeat: usize,
    /// Alternating measurements of each contender; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Skip Dask, which needs Python and packages from PyPI.
    #[arg(long)]
    without_dask: bool,
    /// The folder of the programs.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
}

struct Setup {
    files: Vec<PathBuf>,
    sortie: PathBuf,
    native: PathBuf,
    scratch: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let setup = Setup::new(&options)?;
    println!(
        "{} files, {:.1} MB",
        setup.files.len(),
        setup.bytes()? as f64 / 1e6
    );
    setup.compare()?;
    setup.race(&options)
}

impl Setup {
    fn new(options: &Options) -> Result<Self> {
        let corpus = std::env::var_os("SORTIE_CORPUS")
            .map(|folder| PathBuf::from(folder).join("pdf"))
            .filter(|folder| folder.is_dir());
        let folder = options
            .folder
            .clone()
            .or(corpus)
            .unwrap_or_else(|| "examples/pdf-text/samples".into());
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("failed to list `{}`", folder.display()))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "pdf"));
        files.sort();
        ensure!(!files.is_empty(), "`{}` holds no PDFs", folder.display());
        let scratch = PathBuf::from("target/bench");
        std::fs::create_dir_all(&scratch)?;
        run(Command::new("cargo")
            .args([
                "build",
                "--release",
                "--quiet",
                "--manifest-path",
                "examples/Cargo.toml",
            ])
            .args(["--package", "pdf-text", "--example", "native"]))?;
        let native = PathBuf::from("examples/target/release/examples/native");
        let setup = Self {
            files,
            sortie: options.programs.join("sortie"),
            native,
            scratch,
        };
        // Compiles the component, so that no measurement does.
        setup.map(1, &setup.scratch.join("sortie.jsonl"))?;
        Ok(setup)
    }

    fn bytes(&self) -> Result<u64> {
        self.files
            .iter()
            .map(|file| Ok(std::fs::metadata(file)?.len()))
            .sum()
    }

    /// `sortie map` over all files `repeat` times.
    fn map(&self, repeat: usize, output: &Path) -> Result<Duration> {
        let list = self.scratch.join("inputs.txt");
        let lines: String = self
            .repeated(repeat)
            .map(|file| format!("{}\n", file.display()))
            .collect();
        std::fs::write(&list, lines)?;
        let mut command = Command::new(&self.sortie);
        command.args([
            "map",
            "target/components/pdf-text.wasm",
            "extract",
            "--fresh",
            "--progress",
            "off",
        ]);
        command
            .arg("--cache")
            .arg(self.scratch.join("cache"))
            .arg("--inputs")
            .arg(&list)
            .arg("-o")
            .arg(output);
        let began = Instant::now();
        let status = command
            .stderr(Stdio::null())
            .status()
            .context("failed to start `sortie`; build it with --release")?;
        // 1 says that some tasks failed, which some documents do.
        ensure!(
            matches!(status.code(), Some(0 | 1)),
            "`sortie map` ended with {status}"
        );
        Ok(began.elapsed())
    }

    fn native(&self, repeat: usize, output: &Path) -> Result<Duration> {
        let mut command = Command::new(&self.native);
        command.args(["--threads", "2"]).args(self.repeated(repeat));
        let began = Instant::now();
        let status = command
            .stdout(std::fs::File::create(output)?)
            .stderr(Stdio::null())
            .status()?;
        ensure!(status.success(), "the native program ended with {status}");
        Ok(began.elapsed())
    }

    fn pdftotext(&self, repeat: usize) -> Result<Duration> {
        let list = self.scratch.join("pdftotext.txt");
        let lines: String = self
            .repeated(repeat)
            .map(|file| format!("{}\0", file.display()))
            .collect();
        std::fs::write(&list, lines)?;
        let began = Instant::now();
        let status = Command::new("xargs")
            .args(["-0", "-P", "2", "-I", "{}", "-a"])
            .arg(&list)
            .args(["pdftotext", "-q", "-enc", "UTF-8", "{}", "/dev/null"])
            .status()?;
        // 123 says that some calls failed, which some documents do.
        ensure!(
            matches!(status.code(), Some(0 | 123)),
            "`pdftotext` ended with {status}"
        );
        Ok(began.elapsed())
    }

    /// Seconds that Dask took, and how many of the files the library failed on.
    fn dask(&self, python: &Path, library: &str, repeat: usize) -> Result<(Duration, u64)> {
        let output = Command::new(python)
            .args(["bench/dask_pdf.py", library, &repeat.to_string()])
            .args(&self.files)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut fields = text.split_whitespace();
        let (Some(_), Some(seconds), Some(failures)) =
            (fields.next(), fields.next(), fields.next())
        else {
            bail!(
                "Dask with {library} said: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        Ok((Duration::from_secs_f64(seconds.parse()?), failures.parse()?))
    }

    fn repeated(&self, repeat: usize) -> impl Iterator<Item = &PathBuf> {
        (0..repeat).flat_map(|_| &self.files)
    }

    /// The texts of all contenders against each other.
    fn compare(&self) -> Result<()> {
        let (ours, native) = (
            self.scratch.join("sortie.jsonl"),
            self.scratch.join("native.jsonl"),
        );
        self.map(1, &ours)?;
        self.native(1, &native)?;
        let (ours, native) = (texts(&ours)?, texts(&native)?);
        let differing: Vec<_> = self
            .files
            .iter()
            .filter(|file| text_of(&ours, file) != text_of(&native, file))
            .collect();
        println!(
            "text equal to the native program's: {} of {}",
            self.files.len() - differing.len(),
            self.files.len()
        );
        for file in differing {
            println!("  differs: {}", file.display());
        }
        let mut scores = Vec::new();
        for file in &self.files {
            match text_of(&ours, file) {
                Some(Ok(text)) => {
                    let reference = Command::new("pdftotext")
                        .args(["-q", "-enc", "UTF-8"])
                        .arg(file)
                        .arg("-")
                        .output()
                        .context("`pdftotext` cannot be started: install poppler-utils")?;
                    let (recall, precision) = score(
                        &words(&text),
                        &words(&String::from_utf8_lossy(&reference.stdout)),
                    );
                    scores.push((recall, precision, file));
                }
                Some(Err(code)) => println!("  failed: {} ({code})", file.display()),
                None => println!("  no outcome: {}", file.display()),
            }
        }
        ensure!(!scores.is_empty(), "no text to compare");
        scores.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (recall, precision, file) in scores
            .iter()
            .filter(|score| score.0 < 0.98 || score.1 < 0.98)
        {
            println!(
                "  recall {recall:.4} precision {precision:.4} {}",
                file.display()
            );
        }
        let mean = |pick: fn(&(f64, f64, &PathBuf)) -> f64| {
            scores.iter().map(pick).sum::<f64>() / scores.len() as f64
        };
        let (recall, precision, median) = (
            mean(|score| score.0),
            mean(|score| score.1),
            scores[scores.len() / 2].0,
        );
        println!(
            "words against pdftotext, {} files: recall median {median:.4} mean {recall:.4}, \
             precision mean {precision:.4}",
            scores.len()
        );
        Ok(())
    }

    fn race(&self, options: &Options) -> Result<()> {
        let scratch = self.scratch.join("race.jsonl");
        let (repeat, files) = (options.repeat, self.files.len() as f64);
        let mut rates: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let python = if options.without_dask {
            None
        } else {
            Some(python(
                &self.scratch,
                &["dask[distributed]", "pymupdf", "pypdf"],
            )?)
        };
        for round in 0..options.rounds {
            let mut note = |name: &'static str, repeat: usize, took: Duration| {
                let rate = files * repeat as f64 / took.as_secs_f64();
                println!("  round {round}: {name:<22} {rate:>8.1} files/s");
                rates.entry(name).or_default().push(rate);
            };
            note("sortie map", repeat, self.map(repeat, &scratch)?);
            note(
                "native, two threads",
                repeat,
                self.native(repeat, &scratch)?,
            );
            let repeat = repeat.div_ceil(5);
            note("pdftotext, two at once", repeat, self.pdftotext(repeat)?);
            if let Some(python) = &python {
                note(
                    "Dask with pymupdf",
                    repeat,
                    self.dask(python, "pymupdf", repeat)?.0,
                );
                // Once is enough: it takes as long as all others together.
                if round == 0 {
                    note("Dask with pypdf", 1, self.dask(python, "pypdf", 1)?.0);
                }
            }
        }
        let median = |rates: &[f64]| {
            let mut sorted = rates.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted[sorted.len() / 2]
        };
        let ours = median(&rates["sortie map"]);
        for (name, rates) in &rates {
            println!(
                "{name:<24} {:>8.1} files/s   sortie map is {:.2} times that",
                median(rates),
                ours / median(rates)
            );
        }
        Ok(())
    }
}

type Texts = BTreeMap<PathBuf, std::result::Result<String, String>>;

/// Texts, or failure codes, by file, from lines of JSON.
fn texts(path: &Path) -> Result<Texts> {
    let mut texts = BTreeMap::new();
    for line in std::fs::read_to_string(path)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        let input = line["input"].as_str().context("a line without an input")?;
        let input = std::fs::canonicalize(input.trim_start_matches("file://"))?;
        let text = line["value"]["text"].as_str().map(str::to_owned);
        texts.insert(
            input,
            text.ok_or_else(|| {
                line["error"]["code"]
                    .as_str()
                    .unwrap_or("no code")
                    .to_owned()
            }),
        );
    }
    Ok(texts)
}

fn text_of(texts: &Texts, file: &Path) -> Option<std::result::Result<String, String>> {
    texts.get(&std::fs::canonicalize(file).ok()?).cloned()
}
