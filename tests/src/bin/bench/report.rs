//! The table: figure, target, what it was measured with.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::testbed::Testbed;
use serde::Serialize;

/// Rows in the order in which they were measured.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: String,
    server: String,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    figure: String,
    value: String,
    target: String,
    met: Option<bool>,
    command: String,
}

impl Report {
    /// An empty table.
    pub async fn new(bed: &Testbed) -> Result<Self> {
        let server = bed.api().apiserver_version().await.context("ask the API server for its version")?.git_version;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
        let model = model.trim_start_matches(['\t', ' ', ':']);
        let machine = format!("{processors} processors ({model}), Linux {}", kernel.trim());
        Ok(Self { machine, server, rows: Vec::new() })
    }

    /// A figure that has no target of its own.
    pub fn figure(&mut self, part: &str, figure: &str, value: String) {
        self.row(part, figure, value, String::new(), None);
    }

    /// A figure with a target, and whether it is met.
    pub fn judged(&mut self, part: &str, figure: &str, value: String, target: &str, met: bool) {
        self.row(part, figure, value, target.to_owned(), Some(met));
    }

    fn row(&mut self, part: &str, figure: &str, value: String, target: String, met: Option<bool>) {
        let command = format!("hack/bench.sh --only {part}");
        self.rows.push(Row { figure: figure.to_owned(), value, target, met, command });
    }

    /// Prints the table and writes it into `folder` as `NAME.md` and `NAME.json`.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        let markdown = self.markdown();
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let json = serde_json::to_string_pretty(self).context("write JSON")?;
        for (extension, text) in [("md", &markdown), ("json", &json)] {
            let path = folder.join(format!("{name}.{extension}"));
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        write!(std::io::stdout(), "\n{markdown}").context("print the table")
    }

    fn markdown(&self) -> String {
        let mut text = format!("{}, Kubernetes {}\n\n", self.machine, self.server);
        text += "| figure | measured | target | command |\n|---|---|---|---|\n";
        for Row { figure, value, target, met, command } in &self.rows {
            let mark = match met {
                Some(true) => " ✓",
                Some(false) => " ✗",
                None => "",
            };
            text += &format!("| {figure} | {value} | {target}{mark} | `{command}` |\n");
        }
        text
    }
}

/// Seconds with two digits after the point.
pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// Milliseconds with one digit after the point.
pub fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// The value that this share of the values does not exceed; zero of none.
pub fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    let at = (values.len() as f64 * share).ceil() as usize;
    values.get(at.saturating_sub(1).min(last)).copied().unwrap_or_default()
}
