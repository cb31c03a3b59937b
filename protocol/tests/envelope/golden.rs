//! The format of version 2, held still by files.
//!
//! `tests/golden/v2` has a file for each sample. It says what this program writes, to the byte, and
//! reads. `later` and `earlier` have messages that other programs of version 2 might send: with
//! fields that this one does not know, and without those that may be absent. `refused` has
//! what is not read. `SORTIE_BLESS=1` writes the files of `v2` and `later` anew; a file that
//! changed so is a format that changed.

use std::path::{Path, PathBuf};

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use sortie_protocol::envelope::{Error, Message, decode};

use crate::{notation, samples};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
        .with_extension("hex")
}

fn load(name: &str) -> Vec<u8> {
    let path = path(name);
    notation::read(
        &std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    )
}

fn check(name: &str, title: &str, bytes: &[u8]) {
    let text = notation::write(title, bytes);
    if std::env::var_os("SORTIE_BLESS").is_some() {
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path(name)).unwrap_or_default(),
        text,
        "{name} is not what this program writes"
    );
    assert_eq!(load(name), bytes, "{name}");
}

/// The golden files of version 2, as bytes.
pub(crate) fn goldens() -> Vec<Vec<u8>> {
    samples::all()
        .iter()
        .map(|(name, ..)| load(&format!("v2/{name}")))
        .collect()
}

#[test]
fn each_message_is_written_as_its_golden_file_says_and_read_back() {
    for (name, title, message) in samples::all() {
        check(&format!("v2/{name}"), title, &samples::encode(&message));
        assert_eq!(decode(&load(&format!("v2/{name}"))), Ok(message), "{name}");
    }
}

#[test]
fn there_is_no_golden_file_without_a_sample() {
    let mut files: Vec<_> = std::fs::read_dir(path("v2/bundle").parent().unwrap())
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let mut names: Vec<_> = samples::all()
        .iter()
        .map(|(name, ..)| (*name).to_owned())
        .collect();
    files.sort();
    names.sort();
    assert_eq!(files, names);
}

/// Copy an item with one more field in each map, and one more element in the envelope.
fn with_more(decoder: &mut Decoder<'_>, encoder: &mut Encoder<Vec<u8>>, envelope: bool) {
    let start = decoder.position();
    match decoder.datatype().unwrap() {
        Type::Array => {
            let items = decoder.array().unwrap().unwrap();
            encoder.array(items + u64::from(envelope)).unwrap();
            (0..items).for_each(|_| with_more(decoder, encoder, false));
            if envelope {
                encoder.map(1).unwrap().u8(0).unwrap().str("trace").unwrap();
            }
        }
        Type::Map => {
            let fields = decoder.map().unwrap().unwrap();
            encoder.map(fields + 1).unwrap();
            for _ in 0..fields {
                encoder.u64(decoder.u64().unwrap()).unwrap();
                with_more(decoder, encoder, false);
            }
            encoder
                .u8(40)
                .unwrap()
                .array(2)
                .unwrap()
                .str("new")
                .unwrap()
                .map(1)
                .unwrap()
                .u8(1)
                .unwrap()
                .bool(true)
                .unwrap();
        }
        _ => {
            decoder.skip().unwrap();
            encoder
                .writer_mut()
                .extend_from_slice(decoder.input().get(start..decoder.position()).unwrap());
        }
    }
}

#[test]
fn what_a_later_program_adds_is_skipped() {
    for (name, title, message) in samples::all() {
        let mut encoder = Encoder::new(Vec::new());
        with_more(
            &mut Decoder::new(&load(&format!("v2/{name}"))),
            &mut encoder,
            true,
        );
        let more = encoder.into_writer();
        if ["bundle", "outcomes", "cancelled", "job_open"].contains(&name) {
            check(
                &format!("later/{name}"),
                &format!("{title} From a later program of version 2."),
                &more,
            );
        }
        assert_eq!(decode(&more), Ok(message), "{name}");
    }
}

#[test]
fn what_may_be_absent_is_the_default() {
    assert_eq!(
        decode(&load("earlier/job_open")),
        Ok(Message::Job(Box::new(samples::default_job())))
    );
}

#[test]
fn version_3_is_refused_by_name_whatever_else_it_says() {
    let refused = decode(&load("refused/version_3"));
    assert_eq!(refused, Err(Error::Version { got: 3 }));
    let text = Error::Version { got: 7 }.to_string();
    assert_eq!(
        text,
        "a message of version 7; this program reads version 2: update it"
    );
}

#[test]
fn version_1_is_refused_by_name() {
    let refused = decode(&load("refused/version_1"));
    assert_eq!(refused, Err(Error::Earlier { got: 1 }));
}

#[test]
fn a_job_has_a_function_and_a_tenant_that_can_be_one() {
    let refused = decode(&load("refused/job_of_nothing")).unwrap_err();
    assert_eq!(refused, Error::Malformed("a job without functions".into()));
    let job = load("v2/job_open");
    let at = job.windows(7).position(|part| part == b"default").unwrap();
    let mut other = job;
    *other.get_mut(at).unwrap() = b'*';
    let refused = decode(&other).unwrap_err();
    assert!(matches!(refused, Error::Malformed(_)), "{refused}");
}

#[test]
fn a_kind_or_variant_that_version_2_does_not_have_is_refused() {
    assert_eq!(
        decode(&load("refused/kind_99")),
        Err(Error::Kind { got: 99 })
    );
    let refused = decode(&load("refused/priority_9")).unwrap_err();
    assert!(matches!(refused, Error::Malformed(_)), "{refused}");
}
