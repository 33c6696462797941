//! Keygate: a small gate between a shop's integrations and a merchant API.
//!
//! Integrations speak TLS to Keygate with scoped keys of their own; Keygate holds the real API key, lets through only
//! what each integration may do, and keeps a record that an auditor can check. The modules, in reading order (a module
//! may use those of its own tier and of the tiers above it in this list, which are the lower ones):
//!
//! Pure: no clock, disk, network or async.
//! - [`profile`]: a merchant API as data: its endpoints, where its key goes, its reply envelope.
//! - [`config`]: the configuration file, in two steps: what may be written, what the program runs on.
//! - [`policy`]: one reading of a request's head, and whether the integration may make the call.
//! - [`causes`]: an error with its causes, in one line.
//! - [`body`]: what happens to bytes on their way: count, scrub, hold the last one back.
//!
//! May do I/O; a small trait each.
//! - [`audit`]: the record of every call, durable before the reply ends.
//! - [`sink`]: records go on to other systems as they come.
//! - [`vault`]: where credentials lie, and the one place that puts one into a request.
//! - [`limit`]: rate limits.
//! - [`crypto`]: the cipher suites of both sides, in order.
//! - [`upstream`]: verified TLS to the merchant API.
//!
//! The call's way.
//! - [`descriptors`]: file descriptors: as many as there may be, and none left.
//! - [`allocator`]: what is given back to it is wiped; the one module with `unsafe`.
//! - [`process`]: what keeps others on the machine away from the keys.
//! - [`metrics`]: what is counted.
//! - [`refusal`]: every answer that Keygate gives itself.
//! - [`live`]: what a changed configuration replaces while the gate runs.
//! - [`entry`]: the record of a call while it is being made; written whatever happens.
//! - [`reply`]: what goes back to the integration, and when its last byte may leave.
//! - [`gateway`]: one call, top to bottom.
//!
//! The house around it.
//! - [`server`]: listeners, hello, TLS, connections, drain.
//! - [`admin`]: health and metrics.
//! - [`signals`]: what the system asks of the gate.
//! - [`running`]: what the gate tells the commands about itself.
//! - [`reload`]: a changed configuration or certificate is taken over without a restart.
//! - [`assemble`]: the one place that names concrete backends.
//! - [`cli`]: the commands.
//! - [`stand_in`]: an honest little merchant API for the demo and the tests; knows nothing of the rest.

pub mod causes;
pub mod profile;
pub mod config;
pub mod policy;
pub mod body;
pub mod audit;
pub mod sink;
pub mod vault;
pub mod limit;
pub mod crypto;
pub mod upstream;
pub mod descriptors;
pub mod allocator;
pub mod process;
pub mod metrics;
pub mod refusal;
pub mod live;
pub mod entry;
pub mod reply;
pub mod gateway;
pub mod server;
pub mod admin;
pub mod signals;
pub mod running;
pub mod reload;
pub mod assemble;
pub mod cli;
pub mod stand_in;
