//! Metrics in Prometheus' text format, as servers print them.

use std::collections::BTreeMap;

/// One line: name, labels, value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name of the series.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// Value of a label; empty when it has none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Every sample of a page; comments and what is no sample are left out.
pub fn parse(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

/// Sum of the values of every sample with this name that `fits`.
pub fn sum(samples: &[Sample], name: &str, fits: impl Fn(&Sample) -> bool) -> f64 {
    samples.iter().filter(|sample| sample.name == name && fits(sample)).map(|sample| sample.value).sum()
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.trim().rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = series.split_once('{') else {
        return Some(Sample { name: series.trim().to_owned(), labels: BTreeMap::new(), value });
    };
    Some(Sample { name: name.to_owned(), labels: labels(rest.trim_end().strip_suffix('}')?)?, value })
}

/// `a="x",b="y"`, with backslashes before quotes, backslashes and n.
fn labels(text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text.trim_start_matches(',');
    while !rest.is_empty() {
        let (name, tail) = rest.split_once("=\"")?;
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, c) in tail.char_indices() {
            match (escaped, c) {
                (true, 'n') => value.push('\n'),
                (true, _) => value.push(c),
                (false, '\\') => {}
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                (false, _) => value.push(c),
            }
            escaped = !escaped && c == '\\';
        }
        labels.insert(name.to_owned(), value);
        rest = tail.get(end? + 1..)?.trim_start_matches(',');
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_names_labels_and_values() {
        let page = "# HELP a b\n# TYPE a counter\na 1\nb{x=\"1\",le=\"+Inf\"} 2.5\nc{t=\"say \\\"no\\\", or\"} 3\n\nnonsense\n";
        let samples = parse(page);
        assert_eq!(samples.len(), 3);
        assert_eq!((samples[1].label("x"), samples[1].label("le"), samples[1].value), ("1", "+Inf", 2.5));
        assert_eq!(samples[2].label("t"), "say \"no\", or");
        assert_eq!(sum(&samples, "b", |sample| sample.label("x") == "1"), 2.5);
    }
}
