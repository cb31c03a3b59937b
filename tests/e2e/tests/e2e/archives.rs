//! Archives of any size are scanned in the memory of one of their members: `arxiv-scan` over a tar
//! of a gigabyte and a zip of three.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use serde_json::{Value, json};
use sortie_harness::{Ran, Sortie, component};

use crate::sorted;

/// What is between the PDFs.
const FILLER_BYTES: u64 = 256 << 20;

/// A PDF that says "the", from the samples of `pdf-text`.
fn pdf() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/pdf-text/samples/groff-report.pdf");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn scan(path: &Path) -> Ran {
    let scan = component("arxiv-scan");
    let arguments = [
        "map".as_ref(),
        scan.as_os_str(),
        "scan".as_ref(),
        path.as_os_str(),
    ];
    Sortie::new(arguments)
        .args(["--arg", "word=the", "--memory", "64MiB"])
        .run()
        .code(0)
}

/// The findings and the peak of the memory; what was read.
fn check(ran: &Ran, files: &[&str]) -> u64 {
    let record = sorted(ran).remove(0);
    let findings = record["value"].as_array().unwrap();
    let found: Vec<&Value> = findings.iter().map(|finding| &finding["file"]).collect();
    assert_eq!(
        found,
        files
            .iter()
            .map(|file| json!(file))
            .collect::<Vec<_>>()
            .iter()
            .collect::<Vec<_>>()
    );
    assert!(
        findings.iter().all(|finding| finding["contains"] == true),
        "{record}"
    );
    let peak = record["bill"]["memory_peak_bytes"].as_u64().unwrap();
    assert!((1..=32 << 20).contains(&peak), "{peak}");
    record["bill"]["bytes_in"].as_u64().unwrap()
}

/// The header of a tar's member.
fn tar_header(path: &str, size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, "0000644\0");
    put(124, &format!("{size:011o}\0"));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[test]
fn a_tar_of_a_gigabyte_is_scanned_by_a_guest_of_64_mib() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("papers.tar");
    let (mut file, pdf) = (File::create(&path).unwrap(), pdf());
    for number in 0..4 {
        file.write_all(&tar_header(&format!("{number}.pdf"), pdf.len() as u64))
            .unwrap();
        file.write_all(&pdf).unwrap();
        let end = file.stream_position().unwrap().next_multiple_of(512);
        file.seek(SeekFrom::Start(end)).unwrap();
        // A hole: it takes no room, and reads as zeros.
        file.write_all(&tar_header(&format!("{number}.bin"), FILLER_BYTES))
            .unwrap();
        file.seek_relative(i64::try_from(FILLER_BYTES).unwrap())
            .unwrap();
    }
    file.write_all(&tar_header("last.pdf", pdf.len() as u64))
        .unwrap();
    file.write_all(&pdf).unwrap();
    let end = file.stream_position().unwrap().next_multiple_of(512) + 1024;
    file.set_len(end).unwrap();
    assert!(end > 1 << 30);
    let read = check(
        &scan(&path),
        &["0.pdf", "1.pdf", "2.pdf", "3.pdf", "last.pdf"],
    );
    assert!(read > 1 << 30, "{read}");
}

#[test]
fn of_a_zip_of_three_gigabytes_only_the_pdfs_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("papers.zip");
    let (mut file, pdf) = (File::create(&path).unwrap(), pdf());
    let (mut directory, mut count) = (Vec::new(), 0u16);
    let mut member = |file: &mut File, name: &str, bytes: Option<&[u8]>| {
        let offset = u32::try_from(file.stream_position().unwrap()).unwrap();
        let size = bytes.map_or(3 * u32::try_from(FILLER_BYTES).unwrap(), |bytes| {
            u32::try_from(bytes.len()).unwrap()
        });
        let name_len = u16::try_from(name.len()).unwrap();
        let sizes: Vec<u8> = [crc32(bytes.unwrap_or_default()), size, size]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        let lengths: Vec<u8> = [name_len, 0]
            .iter()
            .flat_map(|number: &u16| number.to_le_bytes())
            .collect();
        let mut header = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0".to_vec();
        header.extend([&sizes[..], &lengths, name.as_bytes()].concat());
        file.write_all(&header).unwrap();
        match bytes {
            Some(bytes) => file.write_all(bytes).unwrap(),
            None => file.seek_relative(size.into()).unwrap(),
        }
        directory.extend(b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0");
        directory.extend(
            [
                &sizes[..],
                &lengths,
                &[0; 10],
                &offset.to_le_bytes(),
                name.as_bytes(),
            ]
            .concat(),
        );
        count += 1;
    };
    member(&mut file, "first.pdf", Some(&pdf));
    for number in 0..4 {
        member(&mut file, &format!("{number}.bin"), None);
        member(&mut file, &format!("{number}.pdf"), Some(&pdf));
    }
    let start = u32::try_from(file.stream_position().unwrap()).unwrap();
    file.write_all(&directory).unwrap();
    let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
    end.extend(
        [count, count]
            .iter()
            .flat_map(|number| number.to_le_bytes()),
    );
    end.extend(
        [u32::try_from(directory.len()).unwrap(), start]
            .iter()
            .flat_map(|number| number.to_le_bytes()),
    );
    file.write_all(&[&end[..], &[0; 2]].concat()).unwrap();
    assert!(start > 3 << 30);
    let read = check(
        &scan(&path),
        &["first.pdf", "0.pdf", "1.pdf", "2.pdf", "3.pdf"],
    );
    assert!(read < 64 << 20, "{read}");
}

/// The checksum of a zip's member, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}
