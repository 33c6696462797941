//! A read while a credential has two keys: what the upstream says to one of them, and the same read once more with the
//! other when it says no. A write is never sent twice, and neither is anything with a body.

use std::sync::Arc;

use http::StatusCode;

use super::{Gateway, note_event};
use crate::entry::Entry;
use crate::reply::BodyTimes;
use crate::upstream::{Inbound, Upload, UpstreamError};
use crate::vault::inject::{Injected, SecondTry};

impl Gateway {
    /// Judges a key by the reply that it got. A reply that speaks against it is thrown away, and the read is sent with the
    /// other key; what that one gets is the reply, whatever it is.
    pub(super) async fn judge_key(
        &self,
        entry: &mut Entry,
        upstream: usize,
        injected: &mut Injected,
        second: SecondTry,
        first: (Inbound, BodyTimes),
    ) -> Result<(Inbound, BodyTimes), UpstreamError> {
        let (trial, by_twin) = (second.trial.clone(), second.first_is_twin);
        let refused = first.0.head.status;
        if !trial.doubts(by_twin, refused) {
            trial.answered(by_twin, refused);
            return Ok(first);
        }
        drop(first);
        let (outbound, other, scrubber) = second.into_parts();
        entry.record.retried_with = Some(other.clone());
        // Boxed: few calls need the room.
        let reply = Box::pin(self.forward(entry, upstream, outbound, Upload::default())).await?;
        injected.scrubber = scrubber;
        if trial.settle(by_twin, refused, reply.0.head.status) {
            self.settled(upstream, &injected.credential, &other, refused);
        }
        Ok(reply)
    }

    /// Puts on record that one key alone is used from now on, and why.
    fn settled(&self, upstream: usize, refused: &(Arc<str>, u64), used: &(Arc<str>, u64), status: StatusCode) {
        let name = &self.upstreams[upstream].name;
        let ((id, refused), (_, used)) = (refused, used);
        let code = if refused > used { "rotation-rolled-back" } else { "rotation-advanced" };
        tracing::error!(upstream = %name, %id, refused, used, %status, "a key was refused where another was not");
        let detail = format!(
            "upstream {name}: credential {id} version {refused} was refused with {} where version {used} was not; version {used} \
             alone is used",
            status.as_u16()
        );
        // Nobody waits for it: the call's own record says the same.
        drop(note_event(&self.shared.log, code, detail));
    }
}
