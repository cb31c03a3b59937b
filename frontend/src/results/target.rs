//! Parses the destination of results: a path or URL, and the format from its extension.

use std::path::{Path, PathBuf};

use sortie::objects::Location;

use crate::binding::OutputFile;
use crate::error::{Error, Setting};
use crate::settings::Troubles;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON object a line.
    Lines,
    Csv,
    Parquet,
}

impl Format {
    fn of(name: &str) -> Self {
        let extension = Path::new(name)
            .extension()
            .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("csv") => Self::Csv,
            Some("parquet") => Self::Parquet,
            _ => Self::Lines,
        }
    }

    /// What a store is told of the object.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
        }
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
    /// When it is a URL that results cannot be written to.
    pub fn parse(output: Option<&Path>, folder: &Path) -> Result<Self, Error> {
        let Some(path) = output else {
            return Ok(Self {
                place: Place::Stdout,
                format: Format::Lines,
            });
        };
        let format = Format::of(&path.to_string_lossy());
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

    #[test]
    fn the_extension_says_the_format_and_the_scheme_the_place() {
        for (text, format) in [
            ("a.jsonl", Format::Lines),
            ("a.ndjson", Format::Lines),
            ("a", Format::Lines),
            ("csv", Format::Lines),
            ("deep/a.CSV", Format::Csv),
            ("a.csv.parquet", Format::Parquet),
        ] {
            assert_eq!(
                parse(text),
                Ok(Target {
                    place: Place::File(text.into()),
                    format
                })
            );
        }
        assert_eq!(
            parse("file:///a/b.csv"),
            Ok(Target {
                place: Place::File("/a/b.csv".into()),
                format: Format::Csv
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
                format: Format::Parquet
            })
        );
        assert_eq!(
            Target::parse(None, Path::new("/")).unwrap().place,
            Place::Stdout
        );
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
