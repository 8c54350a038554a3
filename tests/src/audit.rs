//! Who asked the API server for what: its audit log.
//!
//! ```text
//!  product's service accounts ──requests──▶ kube-apiserver ──one JSON line each──▶ log/audit.log ──▶ Request
//! ```
//! Metrics of the API server count verbs and resources, but not who asked. The policy logs the product's own accounts, and
//! nobody else, so that the log costs the other programs nothing.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::install::NAMESPACE;
use crate::testbed::Cluster;

/// Groups of users whose requests are logged: every service account of the product's namespace.
const LOGGED: &str = "system:serviceaccounts:metallb-system";

/// Writes the policy into the run's folder; the flags for the API server.
///
/// # Errors
/// The file cannot be written.
pub fn flags(run: &Path) -> Result<Vec<String>> {
    let policy = run.join("audit-policy.yaml");
    let text = format!(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived, ResponseStarted]\nomitManagedFields: true\n\
         rules:\n- level: Metadata\n  userGroups: [\"{LOGGED}\"]\n- level: None\n"
    );
    fs::write(&policy, text).with_context(|| format!("write {}", policy.display()))?;
    Ok(vec![format!("--audit-policy-file={}", policy.display()), format!("--audit-log-path={}", log(run).display())])
}

fn log(run: &Path) -> PathBuf {
    run.join("log/audit.log")
}

/// One request of one of the product's programs that was answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Service account without its namespace, such as `controller`.
    pub account: String,
    /// Pod that asked; empty when the token is not of a pod.
    pub pod: String,
    /// What the program calls itself.
    pub user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// Resource and subresource, such as `services/status`.
    pub resource: String,
    /// Namespace and name, as far as the request named them.
    pub object: String,
    /// HTTP status of the answer.
    pub code: u64,
}

impl Request {
    /// True when the API server was asked to store something. Questions about tokens and rights are created, too, but
    /// nothing of them is stored.
    pub fn is_write(&self) -> bool {
        ["create", "update", "patch", "delete", "deletecollection"].contains(&self.verb.as_str())
            && !["tokenreviews", "subjectaccessreviews", "selfsubjectaccessreviews"].contains(&self.resource.as_str())
    }

    /// True for the Lease that names a leader.
    pub fn is_lease(&self) -> bool {
        self.resource == "leases"
    }

    fn parse(line: &str) -> Option<Self> {
        let entry: Value = serde_json::from_str(line).ok()?;
        let text = |path: &str| entry.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let account = text("/user/username");
        let account = account.strip_prefix(&format!("system:serviceaccount:{NAMESPACE}:"))?.to_owned();
        let (resource, sub) = (text("/objectRef/resource"), text("/objectRef/subresource"));
        let resource = match (resource.as_str(), sub.as_str()) {
            // A path that is no object, such as /version.
            ("", _) => text("/requestURI"),
            (_, "") => resource,
            (_, sub) => format!("{resource}/{sub}"),
        };
        let (namespace, name) = (text("/objectRef/namespace"), text("/objectRef/name"));
        let object = if namespace.is_empty() { name } else { format!("{namespace}/{name}") };
        let code = entry.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default();
        let pod = text("/user/extra/authentication.kubernetes.io~1pod-name/0");
        Some(Self { account, pod, user_agent: text("/userAgent"), verb: text("/verb"), resource, object, code })
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {} -> {}", self.account, self.verb, self.resource, self.object, self.code)
    }
}

/// A place in the log.
#[derive(Debug, Clone)]
pub struct Mark {
    log: PathBuf,
    offset: u64,
}

impl Mark {
    /// The log's present end.
    ///
    /// # Errors
    /// The cluster has no audit log.
    pub fn now(cluster: &Cluster) -> Result<Self> {
        Self::at_end(log(&cluster.dir()))
    }

    /// The log's end now, seen from a mark that was made before.
    ///
    /// # Errors
    /// The log is gone.
    pub fn end(&self) -> Result<Self> {
        Self::at_end(self.log.clone())
    }

    fn at_end(log: PathBuf) -> Result<Self> {
        let offset = fs::metadata(&log).with_context(|| format!("look at {}", log.display()))?.len();
        Ok(Self { log, offset })
    }

    /// Requests that were answered since; a last line that is not complete yet is left out.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let mut file = File::open(&self.log).with_context(|| format!("open {}", self.log.display()))?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(|| format!("read {}", self.log.display()))?;
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        Ok(complete.lines().filter_map(Request::parse).collect())
    }

    /// As [`Mark::requests`], only those that stored something and are no renewal of a Lease.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn writes(&self) -> Result<Vec<Request>> {
        let all = self.requests()?.into_iter();
        Ok(all.filter(|request| request.is_write() && !request.is_lease()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","level":"Metadata","verb":"patch","user":{"username":"system:serviceaccount:metallb-system:controller"},"userAgent":"metallb-rs-controller/0.1.0","objectRef":{"resource":"services","namespace":"a","name":"b","subresource":"status"},"responseStatus":{"code":200}}"#;

    #[test]
    fn a_line_of_the_log_names_who_asked_for_what() {
        let request = Request::parse(LINE).unwrap();
        assert_eq!(request.to_string(), "controller patch services/status a/b -> 200");
        assert!(request.is_write() && !request.is_lease());
    }

    #[test]
    fn questions_about_tokens_store_nothing() {
        let request = Request::parse(&LINE.replace("patch", "create").replace("services", "tokenreviews")).unwrap();
        assert_eq!(request.resource, "tokenreviews/status");
        let request = Request { resource: "tokenreviews".into(), ..request };
        assert!(!request.is_write());
    }

    #[test]
    fn other_users_and_broken_lines_are_left_out() {
        assert_eq!(Request::parse(&LINE.replace("metallb-system", "other")), None);
        assert_eq!(Request::parse("{"), None);
    }
}
