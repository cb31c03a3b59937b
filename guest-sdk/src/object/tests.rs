//! Objects as functions use them, over bytes and files: reads, seeks, buffering, and errors that
//! become failures.

use std::fs;
use std::path::Path;

use super::*;

/// Bytes that differ from one another nearby and do not repeat with a power of two.
fn sample(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| u8::try_from(index % 251).expect("less than 251"))
        .collect()
}

/// One object from memory and one from a file, both holding `bytes`.
fn both(bytes: &[u8], check: impl Fn(Object)) {
    check(Object::from_bytes("sample", bytes));
    let path =
        std::env::temp_dir().join(format!("sortie-guest-{}-{:p}", std::process::id(), bytes));
    fs::write(&path, bytes).expect("writes");
    check(Object::open(&path).expect("opens"));
    fs::remove_file(&path).expect("removes");
}

#[test]
fn an_object_larger_than_any_buffer_is_read_whole_in_every_way() {
    let bytes = sample(3 * FILL_BYTES_MAX as usize + 17);
    both(&bytes, |mut object| {
        assert_eq!(object.size(), bytes.len() as u64);
        assert!(object.read_all().expect("reads") == bytes);
        let mut read = Vec::new();
        assert_eq!(object.read_to_end(&mut read).expect("reads"), bytes.len());
        assert!(read == bytes);
        let mut streamed = Vec::new();
        object.reader().read_to_end(&mut streamed).expect("reads");
        assert!(streamed == bytes);
    });
}

#[test]
fn reading_everything_reserves_exactly_once() {
    let object = Object::from_bytes("sample", sample(1000));
    assert_eq!(object.read_all().expect("reads").capacity(), 1000);
}

#[test]
fn a_range_is_short_at_the_end_and_empty_past_it() {
    both(&sample(10), |object| {
        assert_eq!(object.read_at(3, 4).expect("reads"), [3, 4, 5, 6]);
        assert_eq!(object.read_at(8, 100).expect("reads"), [8, 9]);
        assert_eq!(object.read_at(10, 1).expect("reads"), []);
        assert_eq!(object.read_at(u64::MAX, u32::MAX).expect("reads"), []);
        assert_eq!(object.read_at(0, 0).expect("reads"), []);
    });
}

#[test]
fn seeks_within_and_out_of_the_buffer_read_the_right_bytes() {
    let bytes = sample(500_000);
    both(&bytes, |mut object| {
        for target in [
            0, 70_000, 70_001, 69_999, 499_999, 500_000, 3, 65_536, 65_535, 131_073,
        ] {
            assert_eq!(object.seek(SeekFrom::Start(target)).expect("seeks"), target);
            let mut piece = Vec::new();
            (&mut object)
                .take(5)
                .read_to_end(&mut piece)
                .expect("reads");
            let start = usize::try_from(target).expect("fits");
            assert_eq!(piece, bytes[start..(start + 5).min(bytes.len())]);
            assert_eq!(
                object.stream_position().expect("position"),
                target + piece.len() as u64
            );
        }
    });
}

#[test]
fn seeks_are_relative_to_the_end_and_to_the_position() {
    let mut object = Object::from_bytes("sample", sample(100));
    assert_eq!(object.seek(SeekFrom::End(-10)).expect("seeks"), 90);
    assert_eq!(object.seek(SeekFrom::Current(-5)).expect("seeks"), 85);
    assert_eq!(object.seek(SeekFrom::Current(3)).expect("seeks"), 88);
    assert_eq!(object.fill_buf().expect("reads").first(), Some(&88));
    assert_eq!(object.seek(SeekFrom::End(5)).expect("seeks"), 105);
    assert_eq!(object.read(&mut [0; 4]).expect("reads"), 0);
}

#[test]
fn seeking_to_before_the_first_byte_is_an_error_and_moves_nothing() {
    let mut object = Object::from_bytes("sample", sample(100));
    object.seek(SeekFrom::Start(7)).expect("seeks");
    assert_eq!(
        object
            .seek(SeekFrom::Current(-8))
            .expect_err("before the start")
            .kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(object.stream_position().expect("position"), 7);
}

#[test]
fn lines_are_read_across_buffers() {
    let text = "a line of some length\n".repeat(20_000);
    let object = Object::from_bytes("text", text.as_bytes());
    assert_eq!(
        object
            .reader()
            .lines()
            .map(|line| line.expect("a line").len())
            .sum::<usize>(),
        21 * 20_000
    );
    assert_eq!(object.lines().count(), 20_000);
}

#[test]
fn a_reader_starts_where_it_is_told_and_two_do_not_disturb_each_other() {
    let object = Object::from_bytes("sample", sample(100));
    let (mut first, mut second) = (object.reader_at(10), object.reader_at(20));
    let mut byte = [0];
    for expected in 10..15 {
        first.read_exact(&mut byte).expect("reads");
        assert_eq!(byte, [expected]);
        second.read_exact(&mut byte).expect("reads");
        assert_eq!(byte, [expected + 10]);
    }
}

#[test]
fn an_objects_name_is_the_last_segment_of_its_path() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    assert_eq!(Object::open(path).expect("opens").name(), "lib.rs");
}

#[test]
fn a_clone_reads_on_from_where_the_original_is_and_each_by_itself() {
    fn goes_to_other_threads<T: Clone + Send + Sync>(_: &T) {}
    both(&sample(300_000), |mut object| {
        goes_to_other_threads(&object);
        object.seek(SeekFrom::Start(200_001)).expect("seeks");
        let mut clone = object.clone();
        let mut bytes = [0; 3];
        object.read_exact(&mut bytes).expect("reads");
        clone.read_exact(&mut bytes).expect("reads");
        assert_eq!(bytes[..], sample(200_004)[200_001..]);
        assert_eq!(object.stream_position().expect("is known"), 200_004);
        object.seek(SeekFrom::Start(0)).expect("seeks");
        assert_eq!(clone.stream_position().expect("is known"), 200_004);
        assert_eq!((clone.name(), clone.size()), (object.name(), 300_000));
    });
}
