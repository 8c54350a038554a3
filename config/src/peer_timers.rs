//! Hold time and keepalive time of a BGP peer (RFC 4271 sections 4.2 and 4.4).
//!
//! ```text
//! hold      keepalive   result
//! -         -           backend's defaults
//! h         -           h, h/3
//! -         k           3k, k     works, but is refused at admission: keepaliveTime needs holdTime
//! h         k < h       h, k
//! h         k = h       h, k      works, but is refused at admission: keepaliveTime must be lower
//! 0         0           no keepalives at all
//! h         k > h       error
//! ```

use crate::duration::{GoDuration, parse_go_duration};
use crate::finding::Class;
use crate::quote::quoted;

/// Timers in whole seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Timers {
    pub(crate) hold: Option<u32>,
    pub(crate) keepalive: Option<u32>,
}

/// Something wrong with the timers.
pub(crate) struct TimerFault {
    pub(crate) class: Class,
    pub(crate) field: &'static str,
    pub(crate) text: String,
    pub(crate) remedy: &'static str,
}

/// The largest hold time a BGP OPEN can carry, in seconds.
const LONGEST: i64 = 65_535;

/// The timers in force, and what is wrong with those asked for. With a fault of class Error the timers mean nothing.
pub(crate) fn resolve(hold: Option<&str>, keepalive: Option<&str>) -> (Timers, Option<TimerFault>) {
    let (hold, keepalive) = match (read("spec.holdTime", hold), read("spec.keepaliveTime", keepalive)) {
        (Ok(hold), Ok(keepalive)) => (hold, keepalive),
        (Err(fault), _) | (_, Err(fault)) => return (Timers::default(), Some(fault)),
    };
    let seconds = |duration: GoDuration| duration.whole_seconds();
    let (hold_seconds, keepalive_seconds) = match (hold, keepalive) {
        (None, None) => return (Timers::default(), None),
        (Some(hold), None) => (seconds(hold), seconds(hold) / 3),
        (None, Some(keepalive)) => (seconds(keepalive).saturating_mul(3), seconds(keepalive)),
        (Some(hold), Some(keepalive)) => (seconds(hold), seconds(keepalive)),
    };
    let shown = hold.map_or_else(|| format!("{hold_seconds}s"), |hold| hold.to_string());
    let timers = Timers { hold: u32::try_from(hold_seconds).ok(), keepalive: u32::try_from(keepalive_seconds).ok() };
    let fault = if !(hold_seconds == 0 || (3..=LONGEST).contains(&hold_seconds)) {
        Some(TimerFault {
            class: Class::Error,
            field: "spec.holdTime",
            text: format!("invalid hold time {}: must be 0 or >=3s", quoted(&shown)),
            remedy: if hold_seconds > LONGEST { "BGP cannot carry more than 65535s" } else { "" },
        })
    } else if keepalive_seconds < 0 {
        Some(TimerFault {
            class: Class::Error,
            field: "spec.keepaliveTime",
            text: format!("invalid keepaliveTime {}", quoted(&keepalive.unwrap_or_default().to_string())),
            remedy: "it cannot be negative",
        })
    } else {
        match (hold, keepalive) {
            (Some(hold), Some(keepalive)) => lower(hold, keepalive),
            (None, Some(keepalive)) => Some(TimerFault {
                class: Class::Policy,
                field: "spec.holdTime",
                text: format!("Missing to configure HoldTime when changing KeepaliveTime to {keepalive}"),
                remedy: "set spec.holdTime to more than spec.keepaliveTime",
            }),
            (_, None) => None,
        }
    };
    (timers, fault)
}

fn lower(hold: GoDuration, keepalive: GoDuration) -> Option<TimerFault> {
    let none = GoDuration::default();
    if keepalive < hold || (hold == none && keepalive == none) {
        return None;
    }
    let (k, h) = (quoted(&keepalive.to_string()), quoted(&hold.to_string()));
    Some(TimerFault {
        class: if keepalive == hold { Class::Policy } else { Class::Error },
        field: "spec.keepaliveTime",
        text: format!("invalid keepaliveTime {k}, must be lower than holdTime {h}"),
        remedy: "a third of holdTime is usual",
    })
}

fn read(field: &'static str, text: Option<&str>) -> Result<Option<GoDuration>, TimerFault> {
    text.map(parse_go_duration).transpose().map_err(|error| TimerFault {
        class: Class::Error,
        field,
        text: error.to_string(),
        remedy: "",
    })
}
