//! What the route reads: for each endpoint of each upstream the credential that is used for it.

use std::sync::Arc;

use std::sync::OnceLock;
use std::sync::mpsc::Sender;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::Credential;
use super::look::{Account, Order};
use super::prepared::{Prepared, Unusable};
use super::trial::{Standing, Trial, Twin};
use crate::config::Upstream;

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
    /// A second key for the same endpoints, while one is being replaced by the other.
    pub twin: Option<Twin>,
}

impl Held {
    /// Not to be used.
    pub fn unusable(id: Arc<str>, why: Unusable) -> Self {
        Self { id, slot: Err(why), covers: None, twin: None }
    }

    /// As the vault hands it out.
    pub fn of(credential: &Credential, upstream: &Upstream) -> Self {
        let (slot, covers) = Prepared::covered(credential, upstream);
        let twin = credential.other.as_ref().filter(|_| slot.is_ok()).and_then(|other| {
            let (second, same) = Prepared::covered(&other.credential, upstream);
            // It may go nowhere where the first one may not.
            second.ok().filter(|_| same == covers).map(|prepared| Twin::new(prepared, other.role))
        });
        Self { id: credential.id.clone(), slot, covers, twin }
    }

    /// The same, with everything of `old` that did not change: what was counted goes on, and so do the places that calls
    /// under way hold on to. A version that went without a rotation stays as the twin of the new one for a while.
    pub(super) fn after(mut self, old: &Self, former_for: Option<Duration>) -> Self {
        let Ok(slot) = &mut self.slot else { return self };
        let known = |prepared: &mut Arc<Prepared>| {
            let all = old.slot.iter().chain(old.twin.iter().map(|twin| &twin.prepared));
            if let Some(same) = all.into_iter().find(|it| it.is_same(prepared)) {
                *prepared = same.clone();
            }
        };
        known(slot);
        let former = old.slot.as_ref().ok().filter(|former| !Arc::ptr_eq(former, slot));
        match (&mut self.twin, &old.twin) {
            (Some(twin), before) => {
                known(&mut twin.prepared);
                if let Some(before) = before.as_ref().filter(|before| {
                    let same_role = before.trial.role() == twin.trial.role() && !before.is_passing();
                    same_role && former.is_none() && Arc::ptr_eq(&before.prepared, &twin.prepared)
                }) {
                    twin.trial = before.trial.clone();
                }
            }
            (none, Some(before)) if former.is_none() && before.is_passing() => *none = Some(before.clone()),
            (none, before) if self.covers == old.covers && before.as_ref().is_none_or(Twin::is_passing) => {
                // Where the one before it was put right by its twin, the twin is the one that was in use.
                let better = before.as_ref().filter(|before| before.trial.standing() == Standing::TwinBetter);
                let former = former.map(|former| better.map_or(former, |better| &better.prepared));
                let older = former.filter(|former| former.credential.1 < slot.credential.1);
                *none = older.zip(former_for).map(|(former, time)| Twin::passing(former.clone(), time));
            }
            _ => {}
        }
        self
    }

    /// Whether the twin of the other one is the same, with all that was counted.
    pub(super) fn has_twin_of(&self, other: &Self) -> bool {
        match (&self.twin, &other.twin) {
            (Some(mine), Some(its)) => Arc::ptr_eq(&mine.trial, &its.trial),
            (None, None) => true,
            _ => false,
        }
    }
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

/// A credential and its twin, as the route finds them.
struct Place {
    slot: Slot,
    twin: Option<Twin>,
}

/// Since when a key is in the vault.
pub struct Age {
    /// Position of the upstream.
    pub position: usize,
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The credential's name.
    pub credential: Arc<str>,
    /// Since when.
    pub since: Timestamp,
}

impl Age {
    /// In seconds; a clock that was set back makes nothing younger than new.
    pub fn seconds(&self, now: Timestamp) -> u64 {
        u64::try_from(now.as_second() - self.since.as_second()).unwrap_or(0)
    }
}

/// What a call goes out with, and the other key to which it may be sent instead.
pub struct Chosen {
    /// The key.
    pub prepared: Arc<Prepared>,
    /// The other one, for a call that may be sent twice.
    pub second: Option<Second>,
}

/// The other key of a credential.
pub struct Second {
    pub(super) prepared: Arc<Prepared>,
    pub(super) trial: Arc<Trial>,
    /// Whether the first key is the twin.
    pub(super) first_is_twin: bool,
}

impl Place {
    fn of(held: &Held) -> Self {
        Self { slot: held.slot.clone(), twin: held.twin.clone().filter(|_| held.slot.is_ok()) }
    }

    fn choose(&self, repeatable: bool) -> Result<Chosen, Unusable> {
        let prepared = self.slot.clone()?;
        let Some(Twin { prepared: other, trial }) = &self.twin else { return Ok(Chosen { prepared, second: None }) };
        let first_is_twin = trial.takes_twin(repeatable);
        let (first, second) = if first_is_twin { (other.clone(), prepared) } else { (prepared, other.clone()) };
        let second = repeatable.then(|| Second { prepared: second, trial: trial.clone(), first_is_twin });
        Ok(Chosen { prepared: first, second })
    }
}

/// The credentials of one upstream, laid out by endpoint.
pub struct Keys {
    upstream: Arc<str>,
    places: Vec<Place>,
    /// For each endpoint the position of its slot.
    choice: Vec<u16>,
}

impl Keys {
    /// Lays them out. For each endpoint the narrowest credential that covers it is used: the one that may serve the fewest
    /// endpoints; of equals, the one that stands first in the configuration. A credential that was never seen covers what
    /// no other one does, so that its trouble is what is told.
    pub fn new(upstream: &Upstream, held: &[Held]) -> Self {
        let endpoints = upstream.profile.endpoints().len();
        let mut places: Vec<Place> = held.iter().map(Place::of).collect();
        places.push(Place { slot: Err(Unusable::NoneCovers), twin: None });
        let unseen = held.iter().position(|held| held.covers.is_none()).unwrap_or(held.len());
        let choose = |endpoint| narrowest(held, endpoint).unwrap_or(unseen);
        // More credentials than that are not written into one configuration.
        let choice = (0..endpoints).map(|endpoint| u16::try_from(choose(endpoint)).unwrap_or(u16::MAX)).collect();
        Self { upstream: upstream.name.clone(), places, choice }
    }

    fn age(&self, position: usize, place: &Place) -> Option<Age> {
        let prepared = place.slot.as_ref().ok()?;
        let (upstream, credential) = (self.upstream.clone(), prepared.credential.0.clone());
        Some(Age { position, upstream, credential, since: prepared.since? })
    }

    fn get(&self, endpoint: usize) -> Option<&Place> {
        self.places.get(usize::from(*self.choice.get(endpoint)?))
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
pub struct KeyRing {
    keys: ArcSwap<Vec<Keys>>,
    unconfirmed: ArcSwap<Vec<Unconfirmed>>,
    orders: OnceLock<Sender<Order>>,
}

/// A credential that is in use, as the last good one, though the vault did not confirm it when it was asked last.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("upstream `{upstream}`: {why}; the last good `{credential}` stays in use")]
pub struct Unconfirmed {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The credential's id.
    pub credential: Arc<str>,
    /// What the vault said.
    pub why: Unusable,
}

impl KeyRing {
    /// The credentials of each upstream, in the order of the configuration.
    pub fn new(keys: Vec<Keys>) -> Self {
        Self { keys: ArcSwap::from_pointee(keys), unconfirmed: ArcSwap::default(), orders: OnceLock::new() }
    }

    /// The credential for an endpoint of an upstream.
    pub fn get(&self, upstream: usize, endpoint: usize) -> Slot {
        let ring = self.keys.load();
        let place = ring.get(upstream).and_then(|keys| keys.get(endpoint));
        place.map_or(Err(Unusable::NoneCovers), |place| place.slot.clone())
    }

    /// What a call of an endpoint goes out with. A call that may be sent twice may be a candidate's.
    pub fn choose(&self, upstream: usize, endpoint: usize, repeatable: bool) -> Result<Chosen, Unusable> {
        let ring = self.keys.load();
        let place = ring.get(upstream).and_then(|keys| keys.get(endpoint));
        place.map_or(Err(Unusable::NoneCovers), |place| place.choose(repeatable))
    }

    /// Has the vault looked at now; `None` when nobody does that any more.
    pub async fn look(&self) -> Option<Vec<Account>> {
        let (order, answer) = oneshot::channel();
        self.orders.get()?.send(Order::Look(order)).ok()?;
        answer.await.ok()
    }

    /// How old the keys in use are, where that is known.
    pub fn ages(&self) -> Vec<Age> {
        let ring = self.keys.load();
        let of = |(position, keys): (usize, &Keys)| {
            keys.places.iter().filter_map(|place| keys.age(position, place)).collect::<Vec<_>>()
        };
        ring.iter().enumerate().flat_map(of).collect()
    }

    /// Why credentials cannot be used; empty when all can.
    pub fn troubles(&self) -> Vec<Unusable> {
        let ring = self.keys.load();
        let slots = ring.iter().flat_map(|keys| &keys.places).filter_map(|place| place.slot.as_ref().err());
        slots.filter(|why| **why != Unusable::NoneCovers).cloned().collect()
    }

    /// Credentials that are in use and that the vault does not confirm at the moment.
    pub fn unconfirmed(&self) -> Arc<Vec<Unconfirmed>> {
        self.unconfirmed.load_full()
    }

    pub(super) fn are_unconfirmed(&self, credentials: Vec<Unconfirmed>) {
        self.unconfirmed.store(Arc::new(credentials));
    }

    /// Puts others in place; hands back those before, which a call may still be looking at.
    pub(super) fn replace(&self, keys: Vec<Keys>) -> Arc<Vec<Keys>> {
        self.keys.swap(Arc::new(keys))
    }

    /// Orders to look go there.
    pub(super) fn ask_there(&self, orders: Sender<Order>) {
        // There is one refresh thread for a ring.
        drop(self.orders.set(orders));
    }
}
