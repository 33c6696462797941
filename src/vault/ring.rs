//! What the route reads: for each endpoint of each upstream the credential that is used for it.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::prepared::{Prepared, Unusable};

/// A prepared credential, or why there is none.
pub type Slot = Result<Arc<Prepared>, Unusable>;

/// One credential of an upstream, as it stands.
#[derive(Clone)]
pub struct Held {
    /// Its name.
    pub id: Arc<str>,
    /// Ready for use, or not.
    pub slot: Slot,
    /// The endpoints that it may serve; known when it was fetched once, and kept when it can no longer be used: what a
    /// narrow credential covers must not fall to a wider one because the narrow one has ended.
    pub covers: Option<Covers>,
}

/// Which endpoints of a profile a credential may serve, by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covers(Arc<[bool]>);

impl Covers {
    /// All of them.
    pub fn all(endpoints: usize) -> Self {
        Self(vec![true; endpoints].into())
    }

    /// These.
    pub fn these(endpoints: usize, indexes: impl IntoIterator<Item = usize>) -> Self {
        let mut covers = vec![false; endpoints];
        for index in indexes {
            covers[index] = true;
        }
        Self(covers.into())
    }

    /// Whether an endpoint is among them.
    pub fn has(&self, endpoint: usize) -> bool {
        self.0.get(endpoint).copied().unwrap_or(false)
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.0.iter().filter(|covered| **covered).count()
    }
}

/// The credentials of one upstream, laid out by endpoint.
pub struct Keys {
    slots: Vec<Slot>,
    /// For each endpoint the position of its slot.
    choice: Vec<u16>,
}

impl Keys {
    /// Lays them out. For each endpoint the narrowest credential that covers it is used: the one that may serve the fewest
    /// endpoints; of equals, the one that stands first in the configuration. A credential that was never seen covers what
    /// no other one does, so that its trouble is what is told.
    pub fn new(held: &[Held], endpoints: usize) -> Self {
        let mut slots: Vec<Slot> = held.iter().map(|held| held.slot.clone()).collect();
        slots.push(Err(Unusable::NoneCovers));
        let unseen = held.iter().position(|held| held.covers.is_none()).unwrap_or(held.len());
        let choose = |endpoint| narrowest(held, endpoint).unwrap_or(unseen);
        // More credentials than that are not written into one configuration.
        let choice = (0..endpoints).map(|endpoint| u16::try_from(choose(endpoint)).unwrap_or(u16::MAX)).collect();
        Self { slots, choice }
    }

    fn get(&self, endpoint: usize) -> Option<&Slot> {
        self.slots.get(usize::from(*self.choice.get(endpoint)?))
    }
}

/// The position of the narrowest credential that covers an endpoint.
pub fn narrowest(held: &[Held], endpoint: usize) -> Option<usize> {
    let covering = held.iter().enumerate().filter_map(|(position, held)| {
        let covers = held.covers.as_ref()?;
        covers.has(endpoint).then(|| (covers.count(), position))
    });
    covering.min().map(|(_, position)| position)
}

/// What is injected at the moment, by upstream and endpoint. Swapped whole; readers never wait.
pub struct KeyRing(ArcSwap<Vec<Keys>>);

impl KeyRing {
    /// The credentials of each upstream, in the order of the configuration.
    pub fn new(keys: Vec<Keys>) -> Self {
        Self(ArcSwap::from_pointee(keys))
    }

    /// The credential for an endpoint of an upstream.
    pub fn get(&self, upstream: usize, endpoint: usize) -> Slot {
        let ring = self.0.load();
        let slot = ring.get(upstream).and_then(|keys| keys.get(endpoint));
        slot.cloned().unwrap_or(Err(Unusable::NoneCovers))
    }

    /// Why credentials cannot be used; empty when all can.
    pub fn troubles(&self) -> Vec<Unusable> {
        let ring = self.0.load();
        let slots = ring.iter().flat_map(|keys| &keys.slots).filter_map(|slot| slot.as_ref().err());
        slots.filter(|why| **why != Unusable::NoneCovers).cloned().collect()
    }

    pub(super) fn replace(&self, keys: Vec<Keys>) {
        self.0.store(Arc::new(keys));
    }
}
