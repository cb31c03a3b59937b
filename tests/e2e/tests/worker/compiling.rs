//! Compiling in a child process: it makes the same code, and stops at its limits.

use std::num::NonZeroU32;
use std::time::Duration;

use sortie::protocol::ByteSize;
use sortie_host::Component;
use sortie_host::engine::apart::{Apart, CompileLimits, Compiler};
use sortie_host::engine::{Engine, Paging, Settings};

use crate::support::soon;

async fn compiled(limits: CompileLimits) -> Result<usize, String> {
    let engine = Engine::new(Settings::of(NonZeroU32::MIN, Paging::Discard)).unwrap();
    let bytes = std::fs::read(sortie_harness::component("pdf-text")).unwrap();
    let compiler = Compiler::Apart(Apart {
        program: sortie_harness::binary(),
        limits,
    });
    let loading = Component::load_by(&compiler, &engine, &bytes, None);
    match soon("a compiled component", loading).await {
        Ok(component) => Ok(component.signatures().len()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_compiled_in_a_child_within_its_limits() {
    let usual = CompileLimits::default();
    assert!(compiled(usual).await.unwrap() > 0);
    for (limits, words) in [
        (
            CompileLimits {
                memory: ByteSize::mib(400),
                ..usual
            },
            "more than 400 MiB of memory",
        ),
        (
            CompileLimits {
                cpu_time: Duration::from_secs(1),
                ..usual
            },
            "more than 1s of time on a core",
        ),
        (
            CompileLimits {
                time: Duration::from_millis(50),
                ..usual
            },
            "more than 50ms of time",
        ),
    ] {
        let refused = compiled(limits).await.unwrap_err();
        assert!(refused.contains(words), "{words}: {refused}");
    }
}
