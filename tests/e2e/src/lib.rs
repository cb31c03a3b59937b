//! End-to-end tests: few, with real processes and real servers. They lie in `tests/e2e`; this library is empty.
