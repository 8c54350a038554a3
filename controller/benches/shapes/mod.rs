//! Situations of a large cluster.
#![allow(dead_code, reason = "each bench uses its own part of this")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::v1beta1::{IPAddressPool, IPAddressPoolSpec};
use config::range::parse_entry;
use config::{Family, NamespaceLabels, Pool, PoolEntry, PoolName};
use controller::allocator::family::{Policy, Stack, Wanted};
use controller::allocator::sharing::{Port, Protocol, SharingKey};
use controller::allocator::{Allocator, Client, ServiceKey};
use controller::plan::ConditionWrite;
use controller::pool_objects::PoolObject;
use controller::service::{Condition, Service};
use controller::state::{Action, Input, Outcome, ServiceWrite, State};
use controller::text_map::TextMap;
use runtime::watch::Event;
use serde_json::json;

/// One address of IPv4.
pub const V4: Wanted = Wanted { stack: Stack::Single(Family::V4), policy: Policy::SingleStack, primary: Family::V4 };
/// One address of IPv6.
pub const V6: Wanted = Wanted { stack: Stack::Single(Family::V6), policy: Policy::SingleStack, primary: Family::V6 };

/// A Service that asks the allocator.
pub struct Asker {
    key: ServiceKey,
    labels: TextMap,
    ports: Vec<Port>,
    sharing: SharingKey,
}

impl Asker {
    /// One that shares under `key`; with an empty one it does not share.
    pub fn new(name: &str, key: &str) -> Self {
        Self {
            key: ServiceKey::new("default", name),
            labels: TextMap::default(),
            ports: vec![Port { protocol: Protocol::Tcp, number: 443 }],
            sharing: SharingKey { sharing: key.to_owned(), backend: String::new() },
        }
    }

    fn client(&self) -> Client<'_> {
        let Self { key, labels, ports, sharing } = self;
        Client { key, labels, ports, sharing, visible: &[] }
    }

    /// Takes an address and gives it back.
    pub fn take_and_release(&self, allocator: &mut Allocator, wanted: &Wanted) {
        let addresses = allocator.allocate(&self.client(), wanted).expect("there is room");
        std::hint::black_box(addresses);
        allocator.release(&self.key, &[]);
        allocator.take_opportunities();
    }
}

fn allocator(entry: &str) -> Allocator {
    let entries = vec![PoolEntry { text: entry.to_owned(), cidrs: parse_entry(entry).expect("an entry") }];
    let pool = Pool { entries, auto_assign: true, ..Pool::default() };
    let mut out = Allocator::new();
    out.set_pools(&BTreeMap::from([(PoolName::from("p"), pool)]), &BTreeMap::new(), BTreeSet::new());
    out
}

fn fill(allocator: &mut Allocator, count: u32, key: impl Fn(u32) -> String, address: impl Fn(u32) -> IpAddr) {
    for number in 0..count {
        let asker = Asker::new(&format!("s{number}"), &key(number));
        allocator.assign(&asker.client(), &[address(number)]).expect("a free address");
    }
    allocator.take_opportunities();
}

/// A /8 in which 100,000 addresses are in use, every second one of the first 200,000.
pub fn fragmented() -> Allocator {
    let mut out = allocator("10.0.0.0/8");
    fill(&mut out, 100_000, |_| String::new(), |n| IpAddr::V4(Ipv4Addr::from_bits((10 << 24) + 2 * n)));
    out
}

/// A /64 of which the first 100,000 addresses are in use.
pub fn slash_64() -> Allocator {
    let mut out = allocator("2001:db8::/64");
    let base = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0).to_bits();
    fill(&mut out, 100_000, |_| String::new(), |n| IpAddr::V6(Ipv6Addr::from_bits(base + u128::from(n))));
    out
}

/// 100,000 addresses, each with a sharing key of its own.
pub fn many_keys() -> Allocator {
    let mut out = allocator("10.0.0.0/8");
    fill(&mut out, 100_000, |n| format!("k{n}"), |n| IpAddr::V4(Ipv4Addr::from_bits((10 << 24) + n)));
    out
}

/// 100,000 addresses under one sharing key, all with port 443 taken.
pub fn one_key() -> Allocator {
    let mut out = allocator("10.0.0.0/8");
    fill(&mut out, 100_000, |_| String::from("k"), |n| IpAddr::V4(Ipv4Addr::from_bits((10 << 24) + n)));
    out
}

/// A Service as a cluster has them: some labels, one port, some annotations that are not ours.
pub fn service(number: u32, address: Option<Ipv4Addr>) -> Service {
    let mut annotations = json!({"example.org/team": "shop", "example.org/owner": "platform"});
    let mut status = json!({});
    if let Some(address) = address {
        annotations["metallb.io/ip-allocated-from-pool"] = json!("p");
        status = json!({"loadBalancer": {"ingress": [{"ip": address.to_string(), "ipMode": "VIP"}]}});
    }
    let object = json!({
        "metadata": {
            "namespace": "default", "name": format!("service-{number:05}"),
            "uid": format!("{number:08x}-1111-2222-3333-444444444444"), "resourceVersion": (1000 + number).to_string(),
            "creationTimestamp": format!("2026-01-{:02}T{:02}:{:02}:{:02}Z", 1 + number / 86400, number / 3600 % 24, number / 60 % 60, number % 60),
            "labels": {"app.kubernetes.io/name": format!("service-{number}"), "app.kubernetes.io/part-of": "shop"},
            "annotations": annotations,
        },
        "spec": {
            "type": "LoadBalancer", "clusterIPs": [format!("10.96.{}.{}", number / 250, number % 250)],
            "ports": [{"port": 443, "protocol": "TCP"}], "selector": {"app": format!("service-{number}")},
        },
        "status": status,
    });
    Service::from_slim(serde_json::from_value(object).expect("a Service")).expect("a name")
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits((10 << 24) + number)
}

/// `settled` Services with addresses, which fill the pool, and `waiting` ones.
pub fn services(settled: u32, waiting: u32) -> Vec<Service> {
    (0..settled + waiting).map(|number| service(number, (number < settled).then(|| address(number)))).collect()
}

/// A controller that has just listed everything and looked at it once.
pub fn import(services: Vec<Service>, addresses: u32) -> (State, Vec<Action>) {
    let mut state = State::new(None);
    state.lead();
    let range = format!("{}-{}", address(0), address(addresses - 1));
    let spec = IPAddressPoolSpec { addresses: vec![range], ..IPAddressPoolSpec::default() };
    let pool = PoolObject::from(Ok(IPAddressPool::new("p", spec)));
    let namespace = NamespaceLabels { name: String::from("default"), labels: BTreeMap::new() };
    for event in [Event::Init, Event::InitApply(pool), Event::InitDone] {
        state.apply(Input::Pool(event));
    }
    for event in [Event::Init, Event::InitApply(namespace), Event::InitDone] {
        state.apply(Input::Namespace(event));
    }
    for event in [Event::Init, Event::InitDone] {
        state.apply(Input::AddressPool(event));
    }
    state.apply(Input::Service(Event::Init));
    for service in services {
        state.apply(Input::Service(Event::InitApply(service)));
    }
    state.apply(Input::Service(Event::InitDone));
    let actions = state.settle();
    (state, actions)
}

/// A cluster in which one Service after the other goes and comes back, to the end of the line.
pub struct Churn {
    state: State,
    services: BTreeMap<ServiceKey, Service>,
    version: u64,
    next: u32,
    created: i64,
}

impl Churn {
    /// 10,000 Services have addresses and 10,000 wait.
    pub fn new() -> Self {
        let all = services(10_000, 10_000);
        let created = all.last().map_or(0, |last| last.created);
        let (state, actions) = import(all.clone(), 10_000);
        let services = all.into_iter().map(|service| (service.key.clone(), service)).collect();
        let mut out = Self { state, services, version: 1_000_000, next: 0, created };
        out.answer(actions);
        assert_eq!(out.state.waiting(), 10_000);
        out
    }

    fn answer(&mut self, mut actions: Vec<Action>) {
        while !actions.is_empty() {
            for action in std::mem::take(&mut actions) {
                if let Action::Write(write) = action {
                    self.store(&write);
                }
            }
            actions = self.state.settle();
        }
    }

    fn store(&mut self, write: &ServiceWrite) {
        self.version += 1;
        let stored = self.services.get_mut(&write.key).expect("a known Service");
        stored.resource_version = self.version.to_string().into();
        if let Some(status) = &write.write.status {
            stored.ingress.clone_from(&status.ingress);
            match &status.pool {
                Some(pool) => stored.annotations.insert("metallb.io/ip-allocated-from-pool", pool.0.as_str()),
                None => stored.annotations.remove("metallb.io/ip-allocated-from-pool"),
            }
        }
        match &write.write.condition {
            None => {}
            Some(ConditionWrite::Remove) => stored.condition = None,
            Some(ConditionWrite::Set { reason, message, .. }) => {
                let (reason, message) = ((*reason).into(), message.as_str().into());
                stored.condition =
                    Some(Box::new(Condition { is_false: true, reason, message, observed_generation: 0 }));
            }
        }
        let answer = Outcome::Stored(Box::new(stored.clone()));
        self.state.written(write.attempt, &write.key, answer);
    }

    /// One Service goes, the oldest that waits gets its address, and it comes back as the youngest.
    pub fn turn(&mut self) {
        let number = self.next % 20_000;
        self.next += 1;
        self.created += 1;
        self.version += 1;
        let mut new = service(number, None);
        let old = self.services.remove(&new.key).expect("a known Service");
        self.state.apply(Input::Service(Event::Delete(old)));
        let actions = self.state.settle();
        self.answer(actions);
        new.created = self.created;
        new.uid = self.version.to_string().into();
        new.resource_version = self.version.to_string().into();
        self.services.insert(new.key.clone(), new.clone());
        self.state.apply(Input::Service(Event::Apply(new)));
        let actions = self.state.settle();
        self.answer(actions);
    }
}
