//! What is wrong is said in one line that names it, with exit code 2, before anything runs and
//! before the output is touched.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use sortie_harness::{Sortie, WebServer, component};

fn inspect(name: &str, content: &[u8]) -> Sortie {
    let folder = tempfile::tempdir().unwrap().keep();
    fs::write(folder.join(name), content).unwrap();
    Sortie::new(["inspect", name]).folder(folder)
}

#[test]
fn a_wrong_function_name_is_answered_with_those_there_are() {
    Sortie::map("ecko", ["x"]).run().refused(&[
        "`ecko`",
        "`echo`",
        "`spins_forever`",
        "behaviours.wasm",
    ]);
    Sortie::call("", [""; 0])
        .run()
        .refused(&["no function ``", "`echo`"]);
}

#[test]
fn a_wrong_number_of_arguments_is_answered_with_the_signature() {
    Sortie::call("add", ["1"]).run().refused(&[
        "`add(a: i64, b: i64) -> i64`",
        "2 arguments",
        "got 1",
    ]);
    Sortie::call("add", ["1", "2", "3"])
        .run()
        .refused(&["2 arguments", "got 3"]);
    Sortie::call("empty", ["1"])
        .run()
        .refused(&["no arguments", "got 1"]);
    Sortie::map("add", ["[1,2]", "[1]"])
        .run()
        .refused(&["2 arguments", "`a`, `b`", "got 1"]);
    Sortie::map("add", ["5"])
        .run()
        .refused(&["`5`", "JSON array", "`a`, `b`"]);
    Sortie::map("empty", ["5"])
        .run()
        .refused(&["`empty() -> ()`", "[]"]);
    Sortie::map("add", ["1"])
        .args(["--arg", "c=1"])
        .run()
        .refused(&["--arg c", "`add(a: i64, b: i64) -> i64`"]);
    Sortie::map("add", ["1"])
        .args(["--arg", "a=1", "--arg", "a=2"])
        .run()
        .refused(&["--arg a", "twice"]);
}

#[test]
fn a_value_where_an_object_belongs_is_refused() {
    Sortie::map("two_objects", [r#"["a", 5]"#])
        .run()
        .refused(&["`b`", "takes an object", "5"]);
    Sortie::call("sum_of", ["5"]).run().refused(&["`5`"]);
    Sortie::call("two_objects", ["/etc/hostname"])
        .args(["--arg", "b=/no/such"])
        .run()
        .refused(&["--arg b", "/no/such"]);
}

#[test]
fn what_is_not_a_component_is_named_for_what_it_is() {
    inspect("notes.txt", b"Not WebAssembly.")
        .run()
        .refused(&["notes.txt", "text", ".wasm"]);
    inspect("empty.wasm", b"")
        .run()
        .refused(&["empty.wasm", "empty"]);
    inspect("core.wasm", b"\0asm\x01\0\0\0").run().refused(&[
        "core.wasm",
        "core WebAssembly module",
        "wasm32-wasip2",
    ]);
    inspect("library.so", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0")
        .run()
        .refused(&["library.so"]);
    let whole = fs::read(component("behaviours")).unwrap();
    inspect("half.wasm", &whole[..whole.len() / 2])
        .run()
        .refused(&["half.wasm", "cut short"]);
    Sortie::new(["inspect", "/no/such.wasm"])
        .run()
        .refused(&["`/no/such.wasm`", "No such file"]);
    Sortie::new(["map", "/", "f", "x"]).run().refused(&["`/`"]);
}

#[test]
fn machine_code_is_refused_even_if_we_made_it() {
    let cache = tempfile::tempdir().unwrap();
    Sortie::call("empty", [""; 0])
        .cache(cache.path())
        .run()
        .code(0)
        .value();
    let files = fs::read_dir(cache.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let artifact = fs::read(
        files
            .into_iter()
            .find(|path| path.extension().is_some_and(|end| end == "artifact"))
            .unwrap(),
    )
    .unwrap();
    // In front of the code is what authenticates it.
    let start = artifact
        .windows(4)
        .position(|bytes| bytes == b"\x7fELF")
        .unwrap();
    inspect("compiled.wasm", &artifact[start..])
        .run()
        .refused(&["compiled.wasm", "machine code", ".wasm component"]);
}

#[test]
fn imports_that_are_not_provided_are_named() {
    let imports =
        wat::parse_str(r#"(component (import "acme:db/query@1.0.0" (instance)))"#).unwrap();
    inspect("query.wasm", &imports).run().refused(&[
        "query.wasm",
        "`acme:db/query@1.0.0`",
        "does not provide",
    ]);
    inspect("none.wasm", &wat::parse_str("(component)").unwrap())
        .run()
        .refused(&["none.wasm", "sortie:task/handler", "sortie-guest"]);
}

#[test]
fn inputs_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let sum_of = |input: &str| Sortie::map("sum_of", [input]).folder(folder.path()).run();
    sum_of("absent.pdf").refused(&["`absent.pdf`", "no file"]);
    sum_of("*.pdf").refused(&["nothing matches `*.pdf`"]);
    sum_of(".").refused(&["`.`", "folder", "./*"]);
    sum_of("ftp://host/file").refused(&["ftp://host/file", "s3://"]);
    sum_of("s3://bucket").refused(&["s3://bucket/key"]);
    UnixListener::bind(folder.path().join("socket")).unwrap();
    sum_of("socket").refused(&["`socket`", "regular file"]);
    let web = WebServer::start(folder.path());
    sum_of(&web.url("*.pdf")).refused(&["web servers cannot be listed", "--inputs"]);
    Sortie::map("sum_of", [""; 0])
        .run()
        .refused(&["INPUT", "--inputs"]);
}

#[test]
fn an_unreadable_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("behaviours.wasm");
    fs::copy(component("behaviours"), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o644)).unwrap();
    let command = Sortie::new([
        "map".as_ref(),
        copy.as_os_str(),
        "sum_of".as_ref(),
        file.as_os_str(),
    ]);
    // The superuser reads everything, so the command runs as nobody.
    let command = if rustix::process::geteuid().is_root() {
        command.user(65_534)
    } else {
        command
    };
    command.run().refused(&["secret", "Permission denied"]);
}

#[test]
fn lines_that_are_no_inputs_are_named_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let lines = |function: &str, content: &[u8]| {
        fs::write(folder.path().join("list"), content).unwrap();
        Sortie::map(function, ["--inputs", "list"])
            .folder(folder.path())
            .run()
    };
    lines("echo", b"a\nb\n\xff\n").refused(&["line 3 of `list`", "UTF-8"]);
    lines("add", b"[1,2]\n\n[1]\n").refused(&["line 3 of `list`", "2 arguments", "got 1"]);
    lines("add", b"[1,2]\n{\"a\":1}\n").refused(&["line 2 of `list`", "JSON array"]);
    lines("sum_of", b"a\nftp://b\n").refused(&["line 2 of `list`", "ftp://b"]);
    lines("echo", b"\n  \n").refused(&["no inputs in `list`"]);
    let command = |list: &str| {
        Sortie::map("echo", ["--inputs", list])
            .folder(folder.path())
            .run()
    };
    command("absent").refused(&["--inputs", "`absent`"]);
    command(".").refused(&["--inputs", "folder"]);
    command("-").refused(&["no inputs in standard input"]);
}

#[test]
fn a_wrong_line_of_standard_input_ends_the_run_and_keeps_what_was_done() {
    let ran = Sortie::map("add", ["--inputs", "-"])
        .input("[1,2]\n[3,4]\nfive\n[5,6]\n")
        .run()
        .code(2);
    assert_eq!(ran.records().len(), 2, "{ran}");
    let _ = ran.says(&[
        "2 tasks: 2 completed",
        "error: line 3 of standard input",
        "`five`",
    ]);
}

#[test]
fn bad_options_are_named() {
    for (option, parts) in [
        (
            &["--memory", "lots"][..],
            &["--memory", "lots", "64MiB"][..],
        ),
        (&["--memory", "5GiB"], &["--memory", "4 GiB"]),
        (&["--timeout", "10"], &["--timeout", "30s"]),
        (&["--cpu-time", "0s"], &["--cpu-time"]),
        (&["--retries", "-1"], &["--retries"]),
        (&["--concurrency", "0"], &["--concurrency", "from 1"]),
        (&["--grant", "network"], &["--grant", "clock", "random"]),
        (&["--progress", "loud"], &["--progress", "bar", "lines"]),
        (&["--arg", "novalue"], &["--arg", "NAME=VALUE"]),
        (&["--memroy", "1GiB"], &["--memroy", "--memory"]),
        (&["--cache", ""], &["--cache"]),
    ] {
        Sortie::map("echo", ["x"]).args(option).run().refused(parts);
    }
    Sortie::new(["mop"]).run().refused(&["mop", "map"]);
    Sortie::new([""; 0])
        .run()
        .refused(&["map", "call", "inspect", "new"]);
    Sortie::map("echo", ["x"])
        .env("SORTIE_LOG", "a=b=c")
        .run()
        .refused(&["SORTIE_LOG"]);
}

#[test]
fn a_cache_that_others_can_write_to_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o777)).unwrap();
    Sortie::call("empty", [""; 0])
        .cache(cache.path())
        .run()
        .refused(&["cache folder", "chmod 700", "--cache"]);
    Sortie::call("empty", [""; 0])
        .cache(Path::new("/dev/null/cache"))
        .run()
        .refused(&["/dev/null/cache", "--cache off"]);
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let map = |output: &str| {
        Sortie::map("echo", ["x", "-o", output])
            .folder(folder.path())
            .run()
    };
    map("no/such/folder.jsonl").refused(&["--output", "no folder `no/such`"]);
    map(".").refused(&["--output", "`.` is a folder"]);
    map("/dev/null/results").refused(&["--output", "`/dev/null/results`", "Not a directory"]);
}

#[test]
fn an_output_that_fills_up_is_a_platform_failure() {
    let ran = Sortie::map("echo", ["x", "-o", "/dev/full"]).run().code(3);
    assert_eq!(
        ran.stderr,
        "error: failed to write the results to `/dev/full`: No space left on device (os error 28)\n"
    );
}

#[test]
fn the_output_is_not_touched_when_something_else_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("results.jsonl");
    fs::write(&output, "precious\n").unwrap();
    let map = |function: &str, input: &str| {
        Sortie::map(function, [input, "-o", "results.jsonl"])
            .folder(folder.path())
            .run()
    };
    map("ecko", "x").refused(&["ecko"]);
    map("sum_of", "absent").refused(&["absent"]);
    map("sum_of", "*").refused(&["`results.jsonl` is an input and the output"]);
    fs::write(folder.path().join("list"), "results.jsonl\n").unwrap();
    let listed =
        Sortie::map("sum_of", ["--inputs", "list", "-o", "results.jsonl"]).folder(folder.path());
    listed
        .run()
        .refused(&["line 1", "`results.jsonl` is an input and the output"]);
    let lines = Sortie::map(
        "echo",
        ["--inputs", "results.jsonl", "-o", "./results.jsonl"],
    )
    .folder(folder.path());
    lines.run().refused(&["is an input and the output"]);
    assert_eq!(fs::read_to_string(output).unwrap(), "precious\n");
}

#[test]
fn s3_without_usable_keys_says_why() {
    let map = || Sortie::map("sum_of", ["s3://bucket/key"]);
    map()
        .env("AWS_ACCESS_KEY_ID", "AKID")
        .run()
        .refused(&["s3://bucket/key", "AWS_SECRET_ACCESS_KEY"]);
    map()
        .env("AWS_PROFILE", "nobody")
        .run()
        .refused(&["AWS_PROFILE", "`nobody`"]);
    // Trouble with S3 is no trouble for what is not in S3.
    let elsewhere = Sortie::map("echo", ["x"])
        .env("AWS_PROFILE", "nobody")
        .run()
        .code(0);
    assert_eq!(elsewhere.value()["value"], "x");
}
