//! The thread that asks the vault again, so that a changed credential is used without a restart, and that takes one out of
//! use when the vault has not confirmed it for too long.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::look::{Account, Order};
use super::prepared::Unusable;
use super::ring::{Held, KeyRing, Keys, Unconfirmed};
use super::trial::{Role, Twin};
use super::{Vault, VaultError};
use crate::config::Upstream;

/// No more often than this does the thread wake by itself.
const CALM: Duration = Duration::from_millis(10);

/// Something about a credential or the vault changed. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another version is used from now on.
    NewVersion {
        /// The upstream's name.
        upstream: Arc<str>,
        /// Credential id and version.
        credential: (Arc<str>, u64),
    },
    /// The vault does not hand it out; the last good one stays in use, or there is none.
    Trouble {
        /// The upstream's name.
        upstream: Arc<str>,
        /// Why, for the operator.
        why: String,
        /// Whether a former one is still in use.
        serving: bool,
    },
    /// The vault has not confirmed it for too long: it is no longer used.
    Stale {
        /// The upstream's name.
        upstream: Arc<str>,
        /// Its id.
        credential: Arc<str>,
        /// How long the vault has not confirmed it.
        after: Duration,
    },
    /// There is a second key now, to be tried or to fall back to.
    Second {
        /// The upstream's name.
        upstream: Arc<str>,
        /// Credential id, and version of the second key.
        credential: (Arc<str>, u64),
        /// What it is.
        role: Role,
    },
    /// What was in trouble is well again, with the credential that it had.
    Restored {
        /// The upstream's name.
        upstream: Arc<str>,
        /// Credential id and version.
        credential: (Arc<str>, u64),
    },
    /// Something that the vault tells of itself, a login for one.
    Vault(String),
}

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Between two looks at the vault.
    pub refresh: Duration,
    /// How long a credential is used that the vault does not confirm.
    pub stale_for: Duration,
    /// How long a version that was replaced answers for reads that the new one is refused.
    pub former_for: Option<Duration>,
}

/// All credentials of all upstreams, as they stand.
pub struct Holdings(Vec<Vec<Holding>>);

/// One credential, and what the vault said of it.
struct Holding {
    held: Held,
    /// When the vault last said that it is good.
    confirmed: Instant,
    /// Id and version of the one that was used last.
    last: Option<(Arc<str>, u64)>,
    trouble: Option<Unusable>,
}

impl Holdings {
    /// Fetches everything for the first time. A credential that is not there or cannot be used is held as such; a vault
    /// that cannot be asked is an error.
    pub fn first(vault: &dyn Vault, upstreams: &[Upstream]) -> Result<Self, VaultError> {
        let one = |upstream: &Upstream, id: &Arc<str>| {
            let held = match vault.fetch(id) {
                Ok(credential) => Held::of(&credential, upstream),
                Err(error @ VaultError::Missing { .. }) => Held::unusable(id.clone(), Unusable::from_vault(&error)),
                Err(error) => return Err(error),
            };
            let trouble = held.slot.as_ref().err().cloned();
            let last = held.slot.as_ref().ok().map(|prepared| prepared.credential.clone());
            Ok(Holding { held, confirmed: Instant::now(), last, trouble })
        };
        let of = |upstream: &Upstream| upstream.credentials.iter().map(|id| one(upstream, id)).collect();
        upstreams.iter().map(of).collect::<Result<_, _>>().map(Self)
    }

    /// What the route reads.
    pub fn keys(&self, upstreams: &[Upstream]) -> Vec<Keys> {
        let lay_out = |(held, upstream): (Vec<Held>, &Upstream)| Keys::new(upstream, &held);
        (0..self.0.len()).map(|n| self.of(n)).zip(upstreams).map(lay_out).collect()
    }

    /// The credentials of one upstream.
    pub fn of(&self, upstream: usize) -> Vec<Held> {
        self.0.get(upstream).into_iter().flatten().map(|holding| holding.held.clone()).collect()
    }
}

/// Runs until dropped.
pub struct Refresher {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Refresher {
    /// Asks again and again, publishes what changed on the ring, and tells `on_change` once per change.
    pub fn start(
        vault: Box<dyn Vault>,
        upstreams: Vec<Upstream>,
        holdings: Holdings,
        ring: Arc<KeyRing>,
        times: Times,
        on_change: impl Fn(Change) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, received) = mpsc::channel();
        ring.ask_there(orders.clone());
        let (on_change, former) = (Box::new(on_change), Vec::new());
        let mut keeper = Keeper { vault, upstreams, holdings, ring, former, times, on_change };
        let thread = std::thread::Builder::new().name("vault".into()).spawn(move || keeper.run(&received))?;
        Ok(Self { orders, thread: Some(thread) })
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        // A thread that takes no order any more has ended.
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // It holds nothing that must be saved; a panic in it was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

struct Keeper {
    vault: Box<dyn Vault>,
    upstreams: Vec<Upstream>,
    holdings: Holdings,
    ring: Arc<KeyRing>,
    /// What was in use before and may still be looked at by a call.
    former: Vec<Arc<Vec<Keys>>>,
    times: Times,
    on_change: Box<dyn Fn(Change) + Send>,
}

/// What the vault says of a credential.
enum Said {
    /// It is as it was.
    Confirmed,
    /// This is what it is now.
    Fetched(Box<Held>),
    /// It is not handed out; the flag says that others need not be asked for either.
    Trouble(Unusable, bool),
}

impl Keeper {
    fn run(&mut self, orders: &Receiver<Order>) {
        let mut next = Instant::now() + self.times.refresh;
        loop {
            self.tell_news();
            let tend = self.vault.tend();
            if tend == Some(Duration::ZERO) {
                next = Instant::now();
            }
            let tend = tend.map(|due| Instant::now() + due);
            let wake =
                [Some(next), tend, self.next_stale(), self.next_over()].into_iter().flatten().min().unwrap_or(next);
            let pause = wake.saturating_duration_since(Instant::now()).max(CALM);
            let order = match orders.recv_timeout(pause) {
                Ok(Order::Look(answer)) => Some(answer),
                Err(RecvTimeoutError::Timeout) => None,
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            };
            if order.is_some() || Instant::now() >= next {
                self.round();
                next = Instant::now() + self.times.refresh;
                // Whoever asked may have gone.
                order.map(|answer| answer.send(self.account()));
            } else if self.expire() {
                self.publish();
            }
        }
    }

    fn tell_news(&self) {
        self.vault.news().into_iter().for_each(|text| (self.on_change)(Change::Vault(text)));
    }

    /// Asks for each credential. A vault that does not answer is asked once in a round, so that nobody waits for each.
    fn round(&mut self) {
        let mut away = None;
        for upstream in 0..self.upstreams.len() {
            for position in 0..self.holdings.0[upstream].len() {
                let said = match &away {
                    Some(why) => Said::Trouble(Unusable::clone(why), true),
                    None => self.ask(upstream, position),
                };
                if let Said::Trouble(why, true) = &said {
                    away.get_or_insert_with(|| why.clone());
                }
                self.settle(upstream, position, said);
                if self.expire() {
                    self.publish();
                }
            }
        }
        self.publish();
    }

    fn ask(&self, upstream: usize, position: usize) -> Said {
        let held = &self.holdings.0[upstream][position].held;
        let trouble =
            |error: VaultError| Said::Trouble(Unusable::from_vault(&error), matches!(error, VaultError::Away { .. }));
        if let Ok(prepared) = &held.slot {
            if let Some(ended) = prepared.ended(Timestamp::now()) {
                return Said::Trouble(ended, false);
            }
            match self.vault.version(&held.id) {
                Ok(Some(version)) if version == prepared.credential.1 => return Said::Confirmed,
                Ok(_) => {}
                Err(error) => return trouble(error),
            }
        }
        match self.vault.fetch(&held.id) {
            Ok(credential) => Said::Fetched(Box::new(Held::of(&credential, &self.upstreams[upstream]))),
            Err(error) => trouble(error),
        }
    }

    fn settle(&mut self, upstream: usize, position: usize, said: Said) {
        let name = &self.upstreams[upstream].name;
        let holding = &mut self.holdings.0[upstream][position];
        match said {
            Said::Confirmed => holding.is_well(name, &*self.on_change),
            Said::Fetched(fetched) => {
                let exchanged = self.upstreams[upstream].profile.token.is_some();
                let fetched = fetched.after(&holding.held, self.times.former_for);
                holding.take(fetched, exchanged, name, &*self.on_change);
            }
            Said::Trouble(why, _) => holding.suffer(why, name, &*self.on_change),
        }
    }

    /// Takes out of use what the vault has not confirmed for too long, and former versions whose time is over; whether there
    /// was something.
    fn expire(&mut self) -> bool {
        let mut found = false;
        for (upstream, holdings) in self.upstreams.iter().zip(&mut self.holdings.0) {
            for holding in holdings {
                if holding.over_at().is_some_and(|at| at <= Instant::now()) {
                    found = true;
                    holding.held.twin = None;
                }
                let after = self.times.stale_for;
                if holding.stale_at(after).is_some_and(|at| at <= Instant::now()) {
                    found = true;
                    let credential = holding.held.id.clone();
                    holding.held.twin = None;
                    holding.held.slot = Err(Unusable::Stale { id: credential.to_string(), after });
                    (self.on_change)(Change::Stale { upstream: upstream.name.clone(), credential, after });
                }
            }
        }
        found
    }

    fn next_stale(&self) -> Option<Instant> {
        self.holdings.0.iter().flatten().filter_map(|holding| holding.stale_at(self.times.stale_for)).min()
    }

    fn next_over(&self) -> Option<Instant> {
        self.holdings.0.iter().flatten().filter_map(Holding::over_at).min()
    }

    fn publish(&mut self) {
        self.former.push(self.ring.replace(self.holdings.keys(&self.upstreams)));
        self.ring.are_unconfirmed(self.unconfirmed());
        self.forget();
    }

    fn unconfirmed(&self) -> Vec<Unconfirmed> {
        let of = |(upstream, holdings): (&Upstream, &Vec<Holding>)| {
            let one = |holding: &Holding| {
                let why = holding.trouble.clone().filter(|_| holding.held.slot.is_ok())?;
                Some(Unconfirmed { upstream: upstream.name.clone(), credential: holding.held.id.clone(), why })
            };
            holdings.iter().filter_map(one).collect::<Vec<_>>()
        };
        self.upstreams.iter().zip(&self.holdings.0).flat_map(of).collect()
    }

    /// Lets go of rings that no call is looking at any more.
    fn forget(&mut self) {
        self.former.retain(|ring| Arc::strong_count(ring) > 1);
    }

    fn account(&mut self) -> Vec<Account> {
        self.forget();
        let readers = !self.former.is_empty();
        let of = |(upstream, holdings): (&Upstream, &Vec<Holding>)| {
            holdings.iter().map(|holding| Account::of(&upstream.name, &holding.held, readers)).collect::<Vec<_>>()
        };
        self.upstreams.iter().zip(&self.holdings.0).flat_map(of).collect()
    }
}

impl Holding {
    /// When it is to be taken out of use, if nothing gets better.
    fn stale_at(&self, stale_for: Duration) -> Option<Instant> {
        (self.held.slot.is_ok() && self.trouble.is_some()).then(|| self.confirmed + stale_for)
    }

    /// When a former version that was kept for a while is to go.
    fn over_at(&self) -> Option<Instant> {
        self.held.twin.as_ref()?.trial.until()
    }

    fn is_well(&mut self, upstream: &Arc<str>, on_change: &dyn Fn(Change)) {
        self.confirmed = Instant::now();
        if self.trouble.take().is_some()
            && let Ok(prepared) = &self.held.slot
        {
            on_change(Change::Restored { upstream: upstream.clone(), credential: prepared.credential.clone() });
        }
    }

    /// An `exchanged` credential is as it was when its version is: another token for it is no change to tell of.
    fn take(&mut self, fetched: Held, exchanged: bool, upstream: &Arc<str>, on_change: &dyn Fn(Change)) {
        let prepared = match &fetched.slot {
            Ok(prepared) => prepared.clone(),
            // It is known what it is for, and that it cannot be used.
            Err(why) => {
                let why = why.clone();
                if fetched.covers.is_some() {
                    self.held.covers = fetched.covers;
                }
                return self.suffer(why, upstream, on_change);
            }
        };
        let as_it_was = match &self.held.slot {
            Ok(old) if exchanged => old.credential == prepared.credential && self.held.covers == fetched.covers,
            Ok(old) => old.is_same(&prepared) && self.held.covers == fetched.covers,
            Err(_) => self.last.as_ref() == Some(&prepared.credential),
        };
        let second = fetched.twin.clone().filter(|_| !fetched.has_twin_of(&self.held));
        self.held = fetched;
        if as_it_was {
            self.is_well(upstream, on_change);
        } else {
            (self.confirmed, self.trouble) = (Instant::now(), None);
            self.last = Some(prepared.credential.clone());
            on_change(Change::NewVersion { upstream: upstream.clone(), credential: prepared.credential.clone() });
        }
        if let Some(Twin { prepared, trial }) = second {
            let (upstream, credential) = (upstream.clone(), prepared.credential.clone());
            on_change(Change::Second { upstream, credential, role: trial.role() });
        }
    }

    fn suffer(&mut self, why: Unusable, upstream: &Arc<str>, on_change: &dyn Fn(Change)) {
        if self.trouble.as_ref() == Some(&why) {
            return;
        }
        if why.must_stop() {
            self.held.slot = Err(why.clone());
            self.held.twin = None;
        }
        if matches!(why, Unusable::Missing(_)) {
            // What the vault does not hold covers nothing.
            self.held.covers = None;
        }
        let serving = self.held.slot.is_ok();
        on_change(Change::Trouble { upstream: upstream.clone(), why: why.to_string(), serving });
        self.trouble = Some(why);
    }
}
