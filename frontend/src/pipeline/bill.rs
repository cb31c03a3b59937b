//! What several tasks took together.

use sortie::{Bill, ByteSize};

/// The bill of tasks that belong together: all that they took, and the most memory that one of them
/// had. It is cached if all of them were.
pub(super) fn together(sum: Option<Bill>, bill: &Bill) -> Bill {
    let Some(sum) = sum else {
        return *bill;
    };
    let bytes =
        |one: ByteSize, other: ByteSize| ByteSize(one.as_u64().saturating_add(other.as_u64()));
    Bill {
        queue: sum.queue.saturating_add(bill.queue),
        fetch: sum.fetch.saturating_add(bill.fetch),
        run: sum.run.saturating_add(bill.run),
        store: sum.store.saturating_add(bill.store),
        cpu: sum.cpu.saturating_add(bill.cpu),
        memory_peak: sum.memory_peak.max(bill.memory_peak),
        bytes_in: bytes(sum.bytes_in, bill.bytes_in),
        bytes_out: bytes(sum.bytes_out, bill.bytes_out),
        cached: sum.cached && bill.cached,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_and_bytes_add_up_and_memory_is_the_most() {
        let bill = |seconds, bytes, cached| Bill {
            queue: Duration::from_secs(seconds),
            fetch: Duration::from_secs(seconds),
            run: Duration::from_secs(seconds),
            store: Duration::from_secs(seconds),
            cpu: Duration::from_secs(seconds),
            memory_peak: ByteSize(bytes),
            bytes_in: ByteSize(bytes),
            bytes_out: ByteSize(bytes),
            cached,
        };
        let both = together(Some(together(None, &bill(1, 10, true))), &bill(2, 5, false));
        let expected = Bill {
            memory_peak: ByteSize(10),
            ..bill(3, 15, false)
        };
        assert_eq!(both, expected);
        let cached = together(Some(bill(1, 1, true)), &bill(1, 1, true));
        assert!(cached.cached);
        let most = bill(u64::MAX, u64::MAX, true);
        let twice = together(Some(most), &most);
        assert_eq!(
            (twice.cpu, twice.bytes_in),
            (Duration::MAX, ByteSize(u64::MAX))
        );
    }
}
