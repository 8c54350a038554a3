//! Numbered progress lines with times.

use std::io::Write;
use std::time::Instant;

/// Prints `[2/5] what   3.4 s` on standard error, one line per finished step.
#[derive(Debug)]
pub struct Progress {
    total: usize,
    done: usize,
    start: Instant,
    step: Instant,
}

impl Progress {
    /// For this many steps.
    pub fn new(total: usize) -> Self {
        let now = Instant::now();
        Self { total, done: 0, start: now, step: now }
    }

    /// A step is finished.
    pub fn done(&mut self, what: &str) {
        self.done += 1;
        let now = Instant::now();
        let took = now.duration_since(self.step).as_secs_f64();
        self.step = now;
        // A closed standard error must not end a run.
        let _ = writeln!(std::io::stderr(), "[{}/{}] {what:<52} {took:>5.1} s", self.done, self.total);
    }

    /// All steps together, in seconds.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}
