//! The objects in few words, for whoever reads what went wrong.
//!
//! ```text
//! a/s1#3@17 v4 pool=p1 ports=TCP/80 shows [192.0.2.1] of p1      p1#1@9 [192.0.2.0/31] auto [assigned, available, ...]
//! ```

use std::fmt::{Debug, Formatter, Result};

use crate::world::{Allocation, Namespace, Pool, Request, SEGMENTS, Svc};

impl Debug for Svc {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { key, uid, version, created, request, shown, mark, condition, generation: _ } = self;
        write!(f, "{key}#{uid}@{version} created {} {request:?}", created % 1000)?;
        if let Some(condition) = condition {
            write!(f, " waits: {}", condition.message)?;
        }
        if shown.is_empty() && mark.is_none() {
            return Ok(());
        }
        write!(f, " shows {shown:?} of {}", mark.as_deref().unwrap_or("nothing"))
    }
}

impl Debug for Request {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let families: String = self.cluster.iter().map(|family| format!("v{family}")).collect();
        write!(f, "{families} {:?}", self.policy)?;
        let ports: Vec<String> = self.ports.iter().map(|(protocol, port)| format!("{protocol}/{port}")).collect();
        write!(f, " {}", ports.join("+"))?;
        let flags =
            [(!self.lb, "ClusterIP"), (self.foreign, "foreign"), (self.local, "local"), (self.old_prefix, "old")];
        for (_, name) in flags.iter().filter(|(set, _)| *set) {
            write!(f, " {name}")?;
        }
        let texts = [
            ("pool", self.pool),
            ("ips", self.ips.as_deref()),
            ("ip", self.ip_field.as_deref()),
            ("share", self.sharing),
            ("label", self.label),
            ("selector", Some(self.selector)),
        ];
        for (name, text) in texts.iter().filter_map(|(name, text)| Some((name, (*text)?))) {
            write!(f, " {name}={text:?}")?;
        }
        Ok(())
    }
}

impl Debug for Pool {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let segments: Vec<&str> = self.segments.iter().map(|segment| SEGMENTS[*segment].0).collect();
        write!(f, "{}#{}@{} created {} {segments:?}", self.name, self.uid, self.version, self.created % 1000)?;
        let flags = [
            (self.bad_entry, "bad entry"),
            (self.unreadable, "unreadable"),
            (!self.auto, "not automatic"),
            (self.avoid_buggy, "avoids buggy"),
        ];
        for (_, name) in flags.iter().filter(|(set, _)| *set) {
            write!(f, " {name}")?;
        }
        match &self.allocation {
            Some(allocation) => write!(f, " for {allocation:?}")?,
            None => write!(f, " for all")?,
        }
        self.status.map_or(Ok(()), |numbers| write!(f, " numbers {numbers:?}"))
    }
}

impl Debug for Allocation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { priority, namespaces, namespace_tier, service_app } = self;
        write!(f, "(priority {priority} namespaces {namespaces:?} tier {namespace_tier:?} app {service_app:?})")
    }
}

impl Debug for Namespace {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}@{} tier {:?}", self.name, self.version, self.tier)
    }
}
