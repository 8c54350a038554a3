//! The `process_*` metrics, read from /proc when somebody asks.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

/// Ticks per second of the times in /proc; Linux shows 100 to user space on every architecture.
const TICKS: f64 = 100.0;

#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        // A file that cannot be read leaves its metric out: measuring must not fail a scrape.
        let stat = read("/proc/self/stat").and_then(|text| times(&text));
        let boot = read("/proc/stat").and_then(|text| field(&text, "btime"));
        let memory = read("/proc/self/status").and_then(|text| field(&text, "VmRSS:"));
        let files = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);

        let mut show = |name: &str, help: &str, kind: MetricType, value: Option<f64>| match value {
            Some(value) => encoder.encode_descriptor(name, help, None, kind)?.encode_gauge(&value),
            None => Ok(()),
        };
        let (cpu, start) = (stat.map(|times| times.0), stat.zip(boot).map(|(times, boot)| times.1 + boot));
        show("process_cpu_seconds_total", "Processor time used.", MetricType::Counter, cpu)?;
        show("process_resident_memory_bytes", "Memory in use.", MetricType::Gauge, memory.map(|kib| kib * 1024.0))?;
        show("process_start_time_seconds", "Start of the process, Unix time.", MetricType::Gauge, start)?;
        show("process_open_fds", "Open file descriptors.", MetricType::Gauge, files.map(|count| count as f64))
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Processor time and start after boot of a `/proc/<pid>/stat`, in seconds (proc(5): fields 14, 15 and 22).
fn times(stat: &str) -> Option<(f64, f64)> {
    // The second field is the program's name in parentheses, which may hold blanks and parentheses itself.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |position: usize| fields.get(position - 3)?.parse::<f64>().ok();
    Some(((number(14)? + number(15)?) / TICKS, number(22)? / TICKS))
}

/// The number behind a word at the start of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_an_awkward_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 1200 1000 10";
        assert_eq!(times(stat), Some((2.0, 12.0)));
        assert_eq!(times("garbage"), None);
        assert_eq!(times("42 (x) S 1"), None);
    }

    #[test]
    fn a_field_is_found_by_its_word() {
        assert_eq!(field("Name:\tx\nVmRSS:\t    2048 kB\n", "VmRSS:"), Some(2048.0));
        assert_eq!(field("cpu 1 2\nbtime 1700000000\n", "btime"), Some(1_700_000_000.0));
        assert_eq!(field("", "btime"), None);
    }
}
