//! Parses the destination of results: a path or URL, and the format from its extension.

use std::path::{Path, PathBuf};

use sortie::objects::Location;

use super::compress::Compression;
use crate::binding::OutputFile;
use crate::error::{Error, Setting};
use crate::settings::Troubles;

/// The name of standard output.
const STDOUT: &str = "-";
/// What is written, for those who asked for something else.
const WRITTEN: &str = "JSON lines (.jsonl), .csv, .tsv, each also with .gz or .zst behind, and \
                       .parquet";
/// Extensions of tables that are not written: JSON lines under such a name would be of no use.
const TABLES: [&str; 16] = [
    "xlsx", "xls", "xlsm", "ods", "arrow", "arrows", "feather", "ipc", "orc", "avro", "sqlite",
    "db", "duckdb", "hdf5", "h5", "pq",
];
/// Extensions of files that are compressed or packed in ways that are not written.
const PACKED: [&str; 9] = [
    "bz2", "xz", "lz4", "br", "zip", "7z", "tar", "tgz", "snappy",
];

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) layout: Layout,
    pub(crate) compression: Compression,
}

/// How results are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A JSON object a line.
    Lines,
    Csv,
    /// As CSV, with tabs.
    Tsv,
    Parquet,
}

impl Format {
    /// A JSON object a line.
    pub(crate) const LINES: Self = Self {
        layout: Layout::Lines,
        compression: Compression::None,
    };

    /// What the extension of a name says.
    fn of(name: &str) -> Result<Self, String> {
        let (stem, last) = extension(name);
        let (compression, last) = match last.as_deref() {
            Some("gz") => (Compression::Gzip, extension(stem).1),
            Some("zst" | "zstd") => (Compression::Zstd, extension(stem).1),
            _ => (Compression::None, last),
        };
        let layout = match last.as_deref() {
            Some("csv") => Layout::Csv,
            Some("tsv" | "tab") => Layout::Tsv,
            Some("parquet") if compression == Compression::None => Layout::Parquet,
            Some("parquet") => {
                return Err(format!(
                    "`{name}`: Parquet is compressed in itself; leave the last extension away"
                ));
            }
            Some(other) if TABLES.contains(&other) || PACKED.contains(&other) => {
                return Err(format!(
                    "`{name}`: `.{other}` is not written; the extension says the format, and these \
                     are written: {WRITTEN}"
                ));
            }
            _ => Layout::Lines,
        };
        Ok(Self {
            layout,
            compression,
        })
    }

    /// What a store is told of the object.
    pub(crate) fn content_type(self) -> &'static str {
        let plain = match self.layout {
            Layout::Lines => "application/x-ndjson",
            Layout::Csv => "text/csv; charset=utf-8",
            Layout::Tsv => "text/tab-separated-values; charset=utf-8",
            Layout::Parquet => "application/vnd.apache.parquet",
        };
        self.compression.content_type().unwrap_or(plain)
    }
}

/// A name without its extension, and the extension in lower case.
fn extension(name: &str) -> (&str, Option<String>) {
    let path = Path::new(name);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(extension) => (
            name.strip_suffix(extension)
                .and_then(|stem| stem.strip_suffix('.'))
                .unwrap_or(name),
            Some(extension.to_ascii_lowercase()),
        ),
        None => (name, None),
    }
}

/// Where results are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Stdout,
    File(PathBuf),
    /// An object in a store.
    Object(Location),
}

/// The destination and format of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(crate) place: Place,
    pub(crate) format: Format,
}

impl Target {
    /// Parse the destination; paths are relative to `folder`.
    ///
    /// # Errors
    /// When it is a URL, and no place for results, or has the extension of a format that is not
    /// written.
    pub fn parse(output: Option<&Path>, folder: &Path) -> Result<Self, Error> {
        let Some(path) = output.filter(|path| *path != Path::new(STDOUT)) else {
            return Ok(Self {
                place: Place::Stdout,
                format: Format::LINES,
            });
        };
        let format = Format::of(&path.to_string_lossy())
            .map_err(|wrong| Error::usage(wrong).about(Setting::Output))?;
        let url = path.to_str().filter(|text| text.contains("://"));
        let Some(url) = url else {
            return Ok(Self {
                place: Place::File(path.into()),
                format,
            });
        };
        match Location::parse(url, folder)
            .map_err(|error| Error::usage(error.to_string()).about(Setting::Output))?
        {
            Location::File(path) => Ok(Self {
                place: Place::File(path),
                format,
            }),
            location if location.to_string().ends_with('/') => {
                let text = format!(
                    "`{location}` does not name an object; add a name, as in `{location}results.parquet`"
                );
                Err(Error::usage(text).about(Setting::Output))
            }
            location => Ok(Self {
                place: Place::Object(location),
                format,
            }),
        }
    }

    /// Whether it can be reached, as far as is known without asking.
    ///
    /// # Errors
    /// When it is in a service that cannot be used.
    pub fn check(&self, troubles: &Troubles) -> Result<(), Error> {
        let Place::Object(location) = &self.place else {
            return Ok(());
        };
        match troubles.with(&location.to_url()) {
            Some(trouble) => {
                Err(Error::usage(format!("`{location}`: {trouble}")).about(Setting::Output))
            }
            None => Ok(()),
        }
    }

    /// The output that no input may be: opening a file truncates it, and an object is replaced at
    /// the end. Paths are relative to `folder`.
    #[must_use]
    pub fn as_output(&self, folder: &Path) -> Option<OutputFile> {
        match &self.place {
            Place::Stdout => None,
            // What is no location is no input, either.
            Place::File(path) => Location::parse(&path.to_string_lossy(), folder)
                .ok()
                .map(|location| OutputFile::new(location, path.display().to_string())),
            Place::Object(location) => {
                Some(OutputFile::new(location.clone(), location.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sortie::objects::Service;

    use super::*;

    fn parse(text: &str) -> Result<Target, String> {
        Target::parse(Some(Path::new(text)), Path::new("/here")).map_err(|error| error.to_string())
    }

    fn format(layout: Layout) -> Format {
        Format {
            layout,
            compression: Compression::None,
        }
    }

    #[test]
    fn the_extension_says_the_format_and_the_scheme_the_place() {
        for (text, layout) in [
            ("a.jsonl", Layout::Lines),
            ("a.ndjson", Layout::Lines),
            ("a", Layout::Lines),
            ("csv", Layout::Lines),
            ("deep/a.CSV", Layout::Csv),
            ("a.tsv", Layout::Tsv),
            ("a.csv.parquet", Layout::Parquet),
        ] {
            assert_eq!(
                parse(text),
                Ok(Target {
                    place: Place::File(text.into()),
                    format: format(layout)
                })
            );
        }
        assert_eq!(
            parse("file:///a/b.csv"),
            Ok(Target {
                place: Place::File("/a/b.csv".into()),
                format: format(Layout::Csv)
            })
        );
        let location = Location::Bucket {
            service: Service::S3,
            bucket: "b".into(),
            key: "k/a.parquet".into(),
        };
        assert_eq!(
            parse("s3://b/k/a.parquet"),
            Ok(Target {
                place: Place::Object(location),
                format: format(Layout::Parquet)
            })
        );
        for named in [None, Some(Path::new("-"))] {
            assert_eq!(
                Target::parse(named, Path::new("/")).unwrap().place,
                Place::Stdout
            );
        }
    }

    #[test]
    fn a_second_extension_says_how_it_is_compressed() {
        for (text, layout, compression) in [
            ("a.jsonl.gz", Layout::Lines, Compression::Gzip),
            ("a.gz", Layout::Lines, Compression::Gzip),
            ("a.csv.GZ", Layout::Csv, Compression::Gzip),
            ("a.tsv.zst", Layout::Tsv, Compression::Zstd),
            ("s3://b/a.jsonl.zst", Layout::Lines, Compression::Zstd),
        ] {
            let format = Format {
                layout,
                compression,
            };
            assert_eq!(parse(text).unwrap().format, format, "{text}");
        }
    }

    #[test]
    fn a_table_that_is_not_written_is_refused_with_those_that_are() {
        for text in [
            "a.xlsx",
            "a.arrow",
            "a.feather",
            "a.orc",
            "a.avro",
            "s3://b/a.XLSX",
            "a.csv.bz2",
            "a.orc.gz",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains(text) && error.contains(".tsv") && error.contains(".parquet"),
                "{error}"
            );
        }
        assert!(parse("a.parquet.gz").unwrap_err().contains("in itself"));
    }

    #[test]
    fn urls_that_are_no_place_for_results_are_refused() {
        for (text, part) in [
            ("s3://b", "s3://bucket/key"),
            ("s3://b/k/", "does not name an object"),
            ("what://b/k.csv", "what://"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
