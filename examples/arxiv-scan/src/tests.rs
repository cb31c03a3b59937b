//! The scan over archives built in memory, natively: what it finds, what it skips, what it refuses.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// A PDF of one page that shows `text`, set in one of the fonts that every reader has.
fn pdf(text: &str) -> Vec<u8> {
    let content = format!("BT /F 12 Tf 72 720 Td ({text}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font \
         << /F 5 0 R >> >> >>"
            .to_owned(),
        format!(
            "<< /Length {} >>\nstream\n{content}\nendstream",
            content.len()
        ),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding \
         >>"
        .to_owned(),
    ];
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    for (number, object) in (1..).zip(&objects) {
        offsets.push(file.len());
        write!(file, "{number} 0 obj\n{object}\nendobj\n").expect("writes");
    }
    let table = file.len();
    write!(file, "xref\n0 {}\n0000000000 65535 f \n", offsets.len() + 1).expect("writes");
    for offset in &offsets {
        writeln!(file, "{offset:010} 00000 n ").expect("writes");
    }
    write!(
        file,
        "trailer << /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n",
        offsets.len() + 1
    )
    .expect("writes");
    file
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, *bytes)
            .expect("appends");
    }
    builder.into_inner().expect("finishes")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compresses");
    encoder.finish().expect("compresses")
}

fn scan_bytes(bytes: Vec<u8>, word: &str) -> Result<Vec<Finding>, Failure> {
    scan(Object::from_bytes("papers.tar", bytes), word.to_owned())
}

fn read(file: &str, count: u64) -> Finding {
    Finding::Read {
        file: file.to_owned(),
        pages: 1,
        contains: count > 0,
        count,
    }
}

fn skipped(file: &str, error: &str) -> Finding {
    Finding::Skipped {
        file: file.to_owned(),
        error: error.to_owned(),
    }
}

#[test]
fn every_pdf_is_read_in_order_and_nothing_else() {
    let papers = archive(&[
        ("2301/a.pdf", &pdf("A graph is not many graphs")),
        ("2301/readme.txt", b"graph graph graph"),
        ("2301/B.PDF", &pdf("Nothing of the kind")),
        ("2301/c.pdf", &pdf("Graph (graph), graph-based")),
    ]);
    let expected = vec![
        read("2301/a.pdf", 1),
        read("2301/B.PDF", 0),
        read("2301/c.pdf", 3),
    ];
    assert_eq!(scan_bytes(papers.clone(), "graph"), Ok(expected.clone()));
    assert_eq!(scan_bytes(gzip(&papers), "graph"), Ok(expected));
}

#[test]
fn a_damaged_pdf_is_a_finding_and_the_scan_goes_on() {
    let papers = archive(&[
        ("a.pdf", b"no PDF at all"),
        ("empty.pdf", b""),
        ("b.pdf", &pdf("a graph")),
    ]);
    let expected = vec![
        skipped("a.pdf", "damaged"),
        skipped("empty.pdf", "damaged"),
        read("b.pdf", 1),
    ];
    assert_eq!(scan_bytes(papers, "graph"), Ok(expected));
}

#[test]
fn an_encrypted_pdf_is_a_finding_and_real_ones_are_read() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pdf-text/samples");
    let sample = |name| fs::read(samples.join(name)).expect("the sample is there");
    let papers = archive(&[
        ("locked.pdf", &sample("encrypted.pdf")),
        ("latex.pdf", &sample("latex-article.pdf")),
    ]);
    let findings = scan_bytes(papers, "the").expect("scans");
    assert_eq!(findings.first(), Some(&skipped("locked.pdf", "encrypted")));
    assert!(
        matches!(findings.last(), Some(Finding::Read { contains: true, .. })),
        "{findings:?}"
    );
}

#[test]
fn a_pdf_over_the_limit_is_skipped() {
    let large = vec![0; usize::try_from(member::MEMBER_BYTES_MAX).expect("fits") + 1];
    let papers = archive(&[("large.pdf", &large), ("b.pdf", &pdf("a graph"))]);
    assert_eq!(
        scan_bytes(papers, "graph"),
        Ok(vec![skipped("large.pdf", "too-large"), read("b.pdf", 1)])
    );
}

#[test]
fn long_paths_are_whole() {
    let path = format!("{}/a.pdf", "x".repeat(200));
    assert_eq!(
        scan_bytes(archive(&[(&path, &pdf("a graph"))]), "graph"),
        Ok(vec![read(&path, 1)])
    );
}

#[test]
fn an_empty_archive_has_no_findings() {
    assert_eq!(scan_bytes(archive(&[]), "graph"), Ok(Vec::new()));
}

#[test]
fn an_archive_that_cannot_be_read_fails_the_task() {
    let papers = archive(&[("a.pdf", &pdf("a graph")), ("b.pdf", &pdf("a graph"))]);
    let check = |bytes: Vec<u8>| {
        assert_eq!(
            scan_bytes(bytes, "graph").expect_err("is damaged").code(),
            "damaged"
        )
    };
    check(b"this is no tar".repeat(100));
    check(papers[..700].to_vec());
    check(gzip(&papers)[..200].to_vec());
    let mut corrupted = gzip(&papers);
    corrupted[40..80].fill(0xff);
    check(corrupted);
}

/// A member of a zip that is made here.
struct Member {
    path: &'static str,
    bytes: Vec<u8>,
    method: u16,
    flags: u16,
    /// What the directory says of its size, if not the truth.
    said: Option<u64>,
}

fn member(path: &'static str, bytes: &[u8], method: u16) -> Member {
    Member {
        path,
        bytes: bytes.to_vec(),
        method,
        flags: 0,
        said: None,
    }
}

/// How a zip says its numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Small,
    Large,
}

fn zip(members: &[Member], numbers: Numbers) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let offset = file.len() as u64;
        let packed = match member.method {
            8 => {
                let mut encoder =
                    flate2::write::DeflateEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(&member.bytes).expect("compresses");
                encoder.finish().expect("compresses")
            }
            _ => member.bytes.clone(),
        };
        let mut crc = flate2::Crc::new();
        crc.update(&member.bytes);
        let size = member.said.unwrap_or(member.bytes.len() as u64);
        let (small, extra) = match numbers {
            Numbers::Small => (
                [packed.len() as u64, size, offset].map(|n| u32::try_from(n).expect("small")),
                Vec::new(),
            ),
            Numbers::Large => {
                let mut extra = vec![0x34, 0x12, 2, 0, 7, 7, 1, 0, 24, 0];
                [size, packed.len() as u64, offset]
                    .iter()
                    .for_each(|n| extra.extend(n.to_le_bytes()));
                ([u32::MAX; 3], extra)
            }
        };
        let path = u16::try_from(member.path.len()).expect("short");
        file.extend(b"PK\x03\x04");
        [20, member.flags, member.method, 0, 0]
            .iter()
            .for_each(|n: &u16| file.extend(n.to_le_bytes()));
        [crc.sum(), small[0], small[1]]
            .iter()
            .for_each(|n| file.extend(n.to_le_bytes()));
        [path, 3]
            .iter()
            .for_each(|n: &u16| file.extend(n.to_le_bytes()));
        file.extend(member.path.bytes().chain(*b"any"));
        file.extend(packed);
        directory.extend(b"PK\x01\x02");
        [20, 20, member.flags, member.method, 0, 0]
            .iter()
            .for_each(|n: &u16| directory.extend(n.to_le_bytes()));
        [crc.sum(), small[0], small[1]]
            .iter()
            .for_each(|n| directory.extend(n.to_le_bytes()));
        let extra_len = u16::try_from(extra.len()).expect("short");
        [path, extra_len, 4, 0, 0, 0, 0]
            .iter()
            .for_each(|n: &u16| directory.extend(n.to_le_bytes()));
        directory.extend(small[2].to_le_bytes());
        directory.extend(member.path.bytes().chain(extra).chain(*b"note"));
    }
    end(&mut file, &directory, members.len() as u64, numbers);
    file
}

/// Appends the directory and what follows it in a ZIP of `count` members.
fn end(file: &mut Vec<u8>, directory: &[u8], count: u64, numbers: Numbers) {
    let start = file.len() as u64;
    file.extend(directory);
    if numbers == Numbers::Large {
        let at = file.len() as u64;
        file.extend(b"PK\x06\x06");
        file.extend(44u64.to_le_bytes());
        file.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        [count, count, directory.len() as u64, start]
            .iter()
            .for_each(|n| file.extend(n.to_le_bytes()));
        file.extend(b"PK\x06\x07\0\0\0\0");
        file.extend(at.to_le_bytes());
        file.extend(1u32.to_le_bytes());
    }
    let large = numbers == Numbers::Large;
    let entries = if large {
        u16::MAX
    } else {
        u16::try_from(count).expect("few")
    };
    file.extend(b"PK\x05\x06\0\0\0\0");
    [entries, entries]
        .iter()
        .for_each(|n| file.extend(n.to_le_bytes()));
    let place = if large {
        [u32::MAX; 2]
    } else {
        [directory.len() as u64, start].map(|n| u32::try_from(n).expect("small"))
    };
    place.iter().for_each(|n| file.extend(n.to_le_bytes()));
    file.extend(7u16.to_le_bytes());
    file.extend(b"comment");
}

#[test]
fn the_pdfs_of_a_zip_are_read_however_it_is_made() {
    let papers = [
        member("2301/", b"", 0),
        member("2301/a.pdf", &pdf("A graph is not many graphs"), 8),
        member("2301/readme.txt", b"graph graph graph", 8),
        member("2301/B.PDF", &pdf("Nothing of the kind"), 0),
    ];
    let expected = vec![read("2301/a.pdf", 1), read("2301/B.PDF", 0)];
    for numbers in [Numbers::Small, Numbers::Large] {
        assert_eq!(
            scan_bytes(zip(&papers, numbers), "graph"),
            Ok(expected.clone())
        );
        assert_eq!(
            scan_bytes(zip(&[], numbers), "graph").is_ok(),
            numbers == Numbers::Small,
            "begins with another record"
        );
    }
}

#[test]
fn members_of_a_zip_that_cannot_be_read_are_findings() {
    let bomb = vec![0; 1 << 20];
    let papers = [
        Member {
            flags: 1,
            ..member("locked.pdf", b"secret", 0)
        },
        member("lzma.pdf", b"packed", 14),
        Member {
            said: Some(member::MEMBER_BYTES_MAX + 1),
            ..member("large.pdf", &bomb, 8)
        },
        Member {
            said: Some(10),
            ..member("bomb.pdf", &bomb, 8)
        },
        Member {
            said: Some(10),
            ..member("stored-bomb.pdf", b"more than that", 0)
        },
        Member {
            said: Some(1 << 20),
            ..member("short.pdf", b"short", 0)
        },
        member("b.pdf", &pdf("a graph"), 8),
    ];
    let expected = vec![
        skipped("locked.pdf", "encrypted"),
        skipped("lzma.pdf", "unsupported-compression"),
        skipped("large.pdf", "too-large"),
        skipped("bomb.pdf", "damaged"),
        skipped("stored-bomb.pdf", "damaged"),
        skipped("short.pdf", "damaged"),
        read("b.pdf", 1),
    ];
    assert_eq!(
        scan_bytes(zip(&papers, Numbers::Small), "graph"),
        Ok(expected)
    );
    let mut flipped = zip(
        &[
            member("a.pdf", &pdf("a graph"), 0),
            member("b.pdf", &pdf("a graph"), 0),
        ],
        Numbers::Small,
    );
    flipped[60] ^= 1;
    assert_eq!(
        scan_bytes(flipped, "graph"),
        Ok(vec![skipped("a.pdf", "damaged"), read("b.pdf", 1)])
    );
}

#[test]
fn a_zip_that_cannot_be_read_fails_the_task() {
    let whole = zip(
        &[
            member("a.pdf", &pdf("a graph"), 8),
            member("b.pdf", &pdf("a graph"), 8),
        ],
        Numbers::Small,
    );
    let code = |bytes: Vec<u8>| {
        scan_bytes(bytes, "graph")
            .expect_err("is damaged")
            .code()
            .to_owned()
    };
    for length in [4, 100, whole.len() - 8, whole.len() - 1] {
        assert_eq!(code(whole[..length].to_vec()), "damaged", "{length}");
    }
    let end = whole.len() - 29;
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    // More entries than there are; a directory past the end, or where there is none.
    assert_eq!(code(with(end + 10, &[3, 0])), "damaged");
    assert_eq!(code(with(end + 16, &[0xfe, 0xff, 0xff, 0xff])), "damaged");
    assert_eq!(code(with(end + 16, &[4, 0, 0, 0])), "damaged");
    assert_eq!(code(with(end + 4, &[1, 0])), "damaged");
}

#[test]
fn a_zip_whose_members_overlap_is_refused_before_they_are_read_over_and_over() {
    let mut file = zip(&[member("a.pdf", &vec![7; 10_000], 0)], Numbers::Small);
    let end = file.len() - 29;
    let start = 30 + 5 + 3 + 10_000;
    let entry = file[start..end].to_vec();
    let tail = file.split_off(end);
    (0..3).for_each(|_| file.extend(&entry));
    file.extend(&tail);
    let end = file.len() - 29;
    file[end + 10] = 4;
    assert_eq!(
        scan_bytes(file, "graph").expect_err("overlaps").code(),
        "damaged"
    );
}

#[test]
fn a_zip_has_only_so_many_members() {
    let one = zip(&[member("a.txt", b"", 0)], Numbers::Large);
    let record = one.len() - 29 - 20 - 56;
    let start = 30 + 5 + 3;
    let entry = one[start..record].to_vec();
    let mut file = one[..start].to_vec();
    (0..=member::MEMBERS_MAX).for_each(|_| file.extend(&entry));
    let at = file.len() as u64;
    let mut tail = one[record..].to_vec();
    tail[32..40].copy_from_slice(&(member::MEMBERS_MAX as u64 + 1).to_le_bytes());
    tail[56 + 8..56 + 16].copy_from_slice(&at.to_le_bytes());
    file.extend(tail);
    assert_eq!(
        scan_bytes(file, "graph").expect_err("has too many").code(),
        "too-many-members"
    );
}

#[test]
fn a_word_without_letters_fails_the_task_before_anything_is_read() {
    assert_eq!(
        scan_bytes(b"no tar".to_vec(), " - ")
            .expect_err("is no word")
            .code(),
        "bad-word"
    );
}

#[test]
fn only_this_crates_function_is_offered() {
    let names: Vec<_> = sortie_guest::testing::describe()
        .expect("names are unique")
        .into_iter()
        .map(|signature| signature.name)
        .collect();
    assert_eq!(names, ["scan"]);
}
