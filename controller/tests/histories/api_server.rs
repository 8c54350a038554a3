//! The apiserver in memory: objects with versions, conditional writes, and the events its watches send.
//!
//! ```text
//! user edits ─┐
//! writes ─────┴─▶ View (what is stored) + log of all versions ──▶ Events since a position of the log
//! ```

use std::sync::Arc;

use crate::process::Decided;
use crate::world::{Key, Namespace, Pool, Svc, View};

/// What a watch tells about one object.
#[derive(Debug, Clone)]
pub enum Told {
    /// A relist begins.
    Begin(Kind),
    Service(Arc<Svc>),
    Namespace(Arc<Namespace>),
    Pool(Arc<Pool>),
    /// It is gone; the version is that of its end.
    NoService(Arc<Svc>),
    NoNamespace(Arc<Namespace>),
    NoPool(Arc<Pool>),
    /// The relist of this version is complete.
    End(Kind, u64),
}

/// Kinds that are watched, each on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Service,
    Namespace,
    Pool,
}

/// All kinds.
pub const KINDS: [Kind; 3] = [Kind::Service, Kind::Namespace, Kind::Pool];

/// The apiserver.
#[derive(Debug, Default)]
pub struct ApiServer {
    /// What is stored.
    pub stored: View,
    /// Version of the last change.
    pub version: u64,
    /// Seconds since 1970, for creation times.
    pub now: i64,
    /// Everything that ever happened.
    pub log: Vec<Told>,
    uids: u64,
}

impl Told {
    /// What it is about.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Begin(kind) | Self::End(kind, _) => *kind,
            Self::Service(_) | Self::NoService(_) => Kind::Service,
            Self::Namespace(_) | Self::NoNamespace(_) => Kind::Namespace,
            Self::Pool(_) | Self::NoPool(_) => Kind::Pool,
        }
    }
}

impl ApiServer {
    fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// A uid that was never used.
    pub fn uid(&mut self) -> u64 {
        self.uids += 1;
        self.uids
    }

    /// Stores a Service as a user or a controller wants it.
    pub fn put(&mut self, mut svc: Svc) -> Arc<Svc> {
        svc.version = self.next();
        let svc = Arc::new(svc);
        self.stored.services.insert(svc.key.clone(), svc.clone());
        self.log.push(Told::Service(svc.clone()));
        svc
    }

    /// Deletes a Service.
    pub fn delete(&mut self, key: &Key) {
        if let Some(svc) = self.stored.services.remove(key) {
            let version = self.next();
            self.log.push(Told::NoService(Arc::new(Svc { version, ..(*svc).clone() })));
        }
    }

    /// Stores a pool.
    pub fn put_pool(&mut self, mut pool: Pool) {
        pool.version = self.next();
        let pool = Arc::new(pool);
        self.stored.pools.insert(pool.name, pool.clone());
        self.log.push(Told::Pool(pool));
    }

    /// Deletes a pool.
    pub fn delete_pool(&mut self, name: &str) {
        if let Some(pool) = self.stored.pools.remove(name) {
            let version = self.next();
            self.log.push(Told::NoPool(Arc::new(Pool { version, ..(*pool).clone() })));
        }
    }

    /// Stores a Namespace.
    pub fn put_namespace(&mut self, name: &'static str, tier: Option<&'static str>) {
        let namespace = Arc::new(Namespace { name, version: self.next(), tier });
        self.stored.namespaces.insert(name, namespace.clone());
        self.log.push(Told::Namespace(namespace));
    }

    /// Deletes a Namespace with all its Services.
    pub fn delete_namespace(&mut self, name: &str) {
        let keys: Vec<Key> =
            self.stored.services.values().filter(|svc| svc.namespace() == name).map(|svc| svc.key.clone()).collect();
        for key in keys {
            self.delete(&key);
        }
        if let Some(namespace) = self.stored.namespaces.remove(name) {
            let version = self.next();
            self.log.push(Told::NoNamespace(Arc::new(Namespace { version, ..(*namespace).clone() })));
        }
    }

    /// The conditional write of a status: `None` when the Service has another version, or is gone.
    pub fn write(&mut self, decided: &Decided) -> Option<Arc<Svc>> {
        let stored = self.stored.services.get(&decided.key).filter(|svc| svc.version == decided.version)?;
        let Decided { shown, mark, condition, .. } = decided.clone();
        let svc = Svc { shown, mark, condition, ..(**stored).clone() };
        // A write that changes nothing keeps the version and tells nobody.
        if **stored == svc {
            return Some(stored.clone());
        }
        Some(self.put(svc))
    }

    /// What a list of this kind answers now, as a relist of a watch.
    pub fn list(&self, kind: Kind) -> Vec<Told> {
        let mut told = vec![Told::Begin(kind)];
        match kind {
            Kind::Service => told.extend(self.stored.services.values().cloned().map(Told::Service)),
            Kind::Namespace => told.extend(self.stored.namespaces.values().cloned().map(Told::Namespace)),
            Kind::Pool => told.extend(self.stored.pools.values().cloned().map(Told::Pool)),
        }
        told.push(Told::End(kind, self.version));
        told
    }

    /// All versions of one Service from this one on, oldest first.
    pub fn versions(&self, uid: u64, from: u64) -> impl Iterator<Item = &Svc> {
        let all = self.log.iter().filter_map(|told| if let Told::Service(svc) = told { Some(&**svc) } else { None });
        all.filter(move |svc| svc.uid == uid && svc.version >= from)
    }
}
