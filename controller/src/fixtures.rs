//! Short forms of the things tests are about: pools, Services, and a cluster that stores what the controller writes.

use std::collections::BTreeMap;
use std::time::Duration;

use api::v1beta1::{IPAddressPool, IPAddressPoolSpec};
use config::range::parse_entry;
use config::{NamespaceLabels, Pool, PoolEntry};
use runtime::watch::Event;
use serde_json::json;

use crate::plan::{ConditionWrite, Note};
use crate::pool_objects::{ObjectReport, PoolObject};
use crate::service::{Condition, IpMode, Service};
use crate::state::{Action, Input, Outcome, ServiceWrite, State};

/// An automatic pool with these entries.
pub fn pool(entries: &[&str]) -> Pool {
    let entries = entries
        .iter()
        .map(|text| PoolEntry { text: (*text).to_owned(), cidrs: parse_entry(text).expect("entry of a test pool") })
        .collect();
    Pool { entries, auto_assign: true, ..Pool::default() }
}

/// The object of an automatic pool.
pub fn pool_object(name: &str, entries: &[&str]) -> IPAddressPool {
    let addresses = entries.iter().map(|entry| (*entry).to_owned()).collect();
    IPAddressPool::new(name, IPAddressPoolSpec { addresses, ..IPAddressPoolSpec::default() })
}

/// A load balancer Service `default/<name>` with these cluster IPs and port 80.
pub fn service(name: &str, cluster_ips: &[&str]) -> Service {
    let object = json!({
        "metadata": {"namespace": "default", "name": name, "uid": name, "resourceVersion": "1"},
        "spec": {
            "type": "LoadBalancer",
            "clusterIPs": cluster_ips,
            "ports": [{"port": 80, "protocol": "TCP"}],
        },
    });
    Service::from_slim(serde_json::from_value(object).expect("a Service")).expect("with a name")
}

/// The same with annotations.
pub fn annotated(name: &str, annotations: &[(&str, &str)]) -> Service {
    let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
    let object = json!({
        "metadata": {"namespace": "default", "name": name, "uid": name, "resourceVersion": "1", "annotations": annotations},
        "spec": {
            "type": "LoadBalancer",
            "clusterIPs": ["10.96.0.1"],
            "ports": [{"port": 80, "protocol": "TCP"}],
        },
    });
    Service::from_slim(serde_json::from_value(object).expect("a Service")).expect("with a name")
}

/// The same showing these addresses.
pub fn showing(mut service: Service, addresses: &[&str], pool: &str) -> Service {
    service.ingress =
        addresses.iter().map(|ip| crate::service::Ingress { ip: (*ip).into(), ..Default::default() }).collect();
    service.annotations.insert("metallb.io/ip-allocated-from-pool", pool);
    service
}

/// A cluster in memory: objects as the apiserver stores them, and the controller that watches them.
pub struct Cluster {
    /// The controller's state.
    pub state: State,
    /// Services as stored.
    pub services: BTreeMap<String, Service>,
    /// Pools as stored.
    pub pools: BTreeMap<String, IPAddressPool>,
    /// Events since they were last taken.
    pub notes: Vec<(String, Note)>,
    /// Reports about pool objects.
    pub reports: Vec<ObjectReport>,
    /// Writes that the apiserver stored.
    pub writes: usize,
    /// Pauses that the controller asked for.
    pub later: Vec<(String, Duration)>,
    /// The load balancer class of the next controller.
    pub class: Option<String>,
    version: u64,
}

impl Cluster {
    /// An empty cluster with a controller that has seen nothing.
    pub fn new() -> Self {
        Self {
            state: State::new(None),
            services: BTreeMap::new(),
            pools: BTreeMap::new(),
            notes: Vec::new(),
            reports: Vec::new(),
            writes: 0,
            later: Vec::new(),
            class: None,
            version: 1,
        }
    }

    /// A cluster with these pools and a controller that has seen everything.
    pub fn with_pools(pools: &[(&str, &[&str])]) -> Self {
        let mut cluster = Self::new();
        for (name, entries) in pools {
            cluster.pools.insert((*name).to_owned(), pool_object(name, entries));
        }
        cluster.restart();
        cluster
    }

    /// Replaces the controller by one that lists everything anew.
    pub fn restart(&mut self) {
        self.state = State::new(self.class.clone());
        self.lead();
    }

    /// Gives the controller the lead: everything is listed anew.
    pub fn lead(&mut self) {
        self.state.lead();
        let services: Vec<Service> = self.services.values().cloned().collect();
        self.list(services, Input::Service);
        self.list_the_rest();
        self.run();
    }

    /// Delivers everything but the Services.
    pub fn list_the_rest(&mut self) {
        self.list(vec![NamespaceLabels { name: "default".into(), labels: BTreeMap::new() }], Input::Namespace);
        let pools: Vec<PoolObject> = self.pools.values().map(|pool| PoolObject::from(Ok(pool.clone()))).collect();
        self.list(pools, Input::Pool);
        self.list(Vec::new(), Input::AddressPool);
    }

    /// Delivers a complete list.
    pub fn list<T>(&mut self, objects: Vec<T>, input: impl Fn(Event<T>) -> Input) {
        self.state.apply(input(Event::Init));
        for object in objects {
            self.state.apply(input(Event::InitApply(object)));
        }
        self.state.apply(input(Event::InitDone));
    }

    /// Stores a Service as a user would and shows it to the controller; the status of an existing one stays.
    pub fn put(&mut self, mut service: Service) {
        self.version += 1;
        service.resource_version = self.version.to_string().into();
        let name = service.key.name().to_owned();
        if let Some(stored) = self.services.get(&name)
            && service.ingress.is_empty()
        {
            service.ingress.clone_from(&stored.ingress);
            service.condition.clone_from(&stored.condition);
            for (name, value) in stored.annotations.iter().filter(|(name, _)| name.ends_with("from-pool")) {
                service.annotations.insert(name, value);
            }
        }
        self.services.insert(name, service.clone());
        self.state.apply(Input::Service(Event::Apply(service)));
    }

    /// Deletes a Service.
    pub fn delete(&mut self, name: &str) {
        if let Some(service) = self.services.remove(name) {
            self.state.apply(Input::Service(Event::Delete(service)));
        }
    }

    /// Stores a pool and shows it to the controller.
    pub fn put_pool(&mut self, pool: IPAddressPool) {
        let name = pool.metadata.name.clone().expect("named");
        self.pools.insert(name, pool.clone());
        self.state.apply(Input::Pool(Event::Apply(PoolObject::from(Ok(pool)))));
    }

    /// Deletes a pool.
    pub fn delete_pool(&mut self, name: &str) {
        if let Some(pool) = self.pools.remove(name) {
            self.state.apply(Input::Pool(Event::Delete(PoolObject::from(Ok(pool)))));
        }
    }

    /// Lets the controller work, and the apiserver store what it writes, until nothing happens any more.
    pub fn run(&mut self) {
        for _ in 0..100 {
            let writes = self.decide();
            if writes.is_empty() {
                return;
            }
            for write in writes {
                let outcome = self.store(&write);
                self.state.written(write.attempt, &write.key, outcome);
            }
        }
        panic!("the controller does not come to rest");
    }

    /// One decision: its writes are returned and not stored yet.
    pub fn decide(&mut self) -> Vec<ServiceWrite> {
        let mut writes = Vec::new();
        for action in self.state.settle() {
            match action {
                Action::Write(write) => writes.push(write),
                Action::Note(subject, note) => self.notes.push((subject.key.name().to_owned(), note)),
                Action::Report(report) => self.reports.push(report),
                Action::Later(key, pause) => self.later.push((key.name().to_owned(), pause)),
                Action::Log(..) => {}
            }
        }
        writes
    }

    /// What the apiserver does with a write, and its answer.
    pub fn store(&mut self, write: &ServiceWrite) -> Outcome {
        let Some(stored) = self.services.get_mut(write.key.name()) else { return Outcome::Refused };
        if stored.resource_version != write.resource_version {
            return Outcome::Refused;
        }
        self.version += 1;
        self.writes += 1;
        stored.resource_version = self.version.to_string().into();
        if let Some(status) = &write.write.status {
            stored.ingress.clone_from(&status.ingress);
            for entry in &mut stored.ingress {
                entry.ip_mode.get_or_insert(IpMode::Vip);
            }
            match &status.pool {
                Some(pool) => stored.annotations.insert("metallb.io/ip-allocated-from-pool", pool.0.as_str()),
                None => stored.annotations.remove("metallb.io/ip-allocated-from-pool"),
            }
        }
        match &write.write.condition {
            None => {}
            Some(ConditionWrite::Remove) => stored.condition = None,
            Some(ConditionWrite::Set { reason, message, observed_generation, .. }) => {
                stored.condition = Some(Box::new(Condition {
                    is_false: true,
                    reason: (*reason).into(),
                    message: message.as_str().into(),
                    observed_generation: *observed_generation,
                }));
            }
        }
        Outcome::Stored(Box::new(stored.clone()))
    }

    /// The addresses a Service shows, joined by commas.
    pub fn shown(&self, name: &str) -> String {
        let service = self.services.get(name);
        service.map(|service| service.shown_texts().join(",")).unwrap_or_default()
    }

    /// What the condition of a Service says; empty without one.
    pub fn pending(&self, name: &str) -> String {
        let condition = self.services.get(name).and_then(|service| service.condition.as_deref());
        condition.map(|condition| format!("{}: {}", condition.reason, condition.message)).unwrap_or_default()
    }

    /// Takes the Events as `service reason: text`.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
            .into_iter()
            .map(|(name, note)| format!("{name} {:?} {}: {}", note.severity, note.reason, note.text))
            .collect()
    }
}
