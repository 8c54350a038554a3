//! Logs in MetalLB's form: one JSON object per line on stdout.
//!
//! ```text
//!  {"caller":"arp.rs:61","event":"createARPResponder","interface":"eth0","level":"info","msg":"created ARP responder ...","ts":"..."}
//! ```
//! `ts`, `level`, `caller` and `msg` are always there; the fields of the event and of the spans around it stand beside
//! them, so that what people grep for in MetalLB's logs is found here too. Keys are sorted. Secrets are never given to the
//! log: types that hold one do not print it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{Timestamp, Unit};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::LogLevel;

/// The crates of this workspace; everything else is a library and only heard when it warns.
const OWN_CRATES: &[&str] = &[
    "api",
    "bfd",
    "bgp",
    "cli",
    "config",
    "controller",
    "e2e",
    "frr",
    "gen",
    "image",
    "membership",
    "metallb",
    "operator",
    "runtime",
    "speaker",
    "webhook",
];

/// Starts logging for `program`. A second call (in tests) changes nothing. A panic is logged as one line too.
pub fn init(program: &'static str, level: LogLevel) {
    let installed = tracing_subscriber::registry().with(filter(level)).with(layer(std::io::stdout)).try_init().is_ok();
    if installed {
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let text = panic.payload_as_str().unwrap_or("no message");
            tracing::error!(event = "panic", place, "{program} has a defect and ends: {text}; please report this line");
        }));
    }
}

/// Logs the line every MetalLB program begins with, with the keys `version`, `commit` and `branch`.
///
/// Commit and branch are taken from `METALLB_COMMIT` and `METALLB_BRANCH` at build time.
pub fn log_start(program: &str) {
    let (version, commit, branch) = (
        crate::version(),
        option_env!("METALLB_COMMIT").unwrap_or("dev"),
        option_env!("METALLB_BRANCH").unwrap_or("dev"),
    );
    tracing::info!(version, commit, branch, "MetalLB {program} starting (commit {commit}, branch {branch})");
}

fn filter(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::All => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::None => LevelFilter::OFF,
    };
    Targets::new().with_default(own.min(LevelFilter::WARN)).with_targets(OWN_CRATES.iter().map(|name| (*name, own)))
}

fn layer<S, W>(writer: W) -> impl tracing_subscriber::Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    tracing_subscriber::fmt::layer().fmt_fields(JsonFields::new()).event_format(MetalLbJson).with_writer(writer)
}

/// Formats an event as MetalLB does.
struct MetalLbJson;

impl<S, N> FormatEvent<S, N> for MetalLbJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::default();
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && let Ok(Value::Object(fields)) = serde_json::from_str(&fields.fields)
            {
                line.keys.extend(fields);
            }
        }
        event.record(&mut line);
        let metadata = event.metadata();
        let now = Timestamp::now().round(Unit::Millisecond).unwrap_or_else(|_| Timestamp::now());
        line.put("ts", format!("{now:.3}").into());
        line.put("level", level_name(*metadata.level()).into());
        let file = metadata.file().and_then(|path| path.rsplit('/').next()).unwrap_or("unknown");
        line.put("caller", format!("{file}:{}", metadata.line().unwrap_or_default()).into());
        line.keys.entry(String::from("msg")).or_insert_with(|| Value::from(""));
        let text = serde_json::to_string(&line.keys).map_err(|_| fmt::Error)?;
        writeln!(writer, "{text}")
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

/// The keys of one line, sorted.
#[derive(Default)]
struct Line {
    keys: BTreeMap<String, Value>,
}

impl Line {
    fn put(&mut self, key: &str, value: Value) {
        self.keys.insert(key.to_owned(), value);
    }

    /// `message` is tracing's name for what MetalLB calls `msg`; `r#type` and the like lose their prefix.
    fn record(&mut self, field: &Field, value: Value) {
        let name = field.name().trim_start_matches("r#");
        self.put(if name == "message" { "msg" } else { name }, value);
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LogLevel, work: impl FnOnce()) -> Vec<Value> {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber = tracing_subscriber::registry().with(filter(level)).with(layer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, work);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_metallbs_keys_and_the_fields_of_the_event() {
        let lines = logged(LogLevel::Info, || {
            tracing::info!(
                event = "createARPResponder",
                interface = "ens4",
                count = 3,
                "created ARP responder for interface"
            );
        });
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line["event"], "createARPResponder");
        assert_eq!(line["interface"], "ens4");
        assert_eq!(line["count"], 3);
        assert_eq!(line["msg"], "created ARP responder for interface");
        assert_eq!(line["level"], "info");
        assert!(line["caller"].as_str().unwrap().starts_with("logging.rs:"), "{line}");
        let ts = line["ts"].as_str().unwrap();
        assert_eq!(ts.len(), "2022-05-17T09:55:05.123Z".len(), "{ts}");
        assert!(ts.parse::<Timestamp>().is_ok(), "{ts}");
    }

    #[test]
    fn fields_of_surrounding_spans_stand_beside_the_others() {
        let lines = logged(LogLevel::Info, || {
            let _span = tracing::info_span!("service", service = "default/web", ip = "192.0.2.1").entered();
            tracing::warn!(ip = "192.0.2.2", "moved");
        });
        assert_eq!(lines[0]["service"], "default/web");
        assert_eq!(lines[0]["ip"], "192.0.2.2", "the event's own field wins");
    }

    #[test]
    fn each_level_hides_what_lies_below_it() {
        let cases = [
            (LogLevel::All, 5),
            (LogLevel::Debug, 4),
            (LogLevel::Info, 3),
            (LogLevel::Warn, 2),
            (LogLevel::Error, 1),
            (LogLevel::None, 0),
        ];
        for (level, expected) in cases {
            let lines = logged(level, || {
                tracing::error!("e");
                tracing::warn!("w");
                tracing::info!("i");
                tracing::debug!("d");
                tracing::trace!("t");
            });
            assert_eq!(lines.len(), expected, "{level}");
        }
    }

    #[test]
    fn libraries_are_heard_only_when_they_warn() {
        let lines = logged(LogLevel::All, || {
            tracing::info!(target: "hyper::client", "noise");
            tracing::warn!(target: "hyper::client", "trouble");
        });
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["msg"], "trouble");
    }

    #[test]
    fn awkward_text_stays_one_line_of_json() {
        let lines = logged(LogLevel::Info, || tracing::info!(name = "a\"b", "two\nlines"));
        assert_eq!(lines[0]["msg"], "two\nlines");
        assert_eq!(lines[0]["name"], "a\"b");
    }
}
