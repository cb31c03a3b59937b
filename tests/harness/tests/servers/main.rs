//! The harness's own tests: that its servers and its bad network do what other tests rely on.

mod clusters;
mod nats;
mod proxy;
mod store_proxy;
