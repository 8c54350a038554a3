//! Certificates and kubeconfigs of the test cluster. Every key lives for one run.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::testbed::layout::{self, API_PORT};

/// The run's certificate authority; everything it signs lies in `pki/` of the run's folder.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// Who a certificate is for.
pub struct Subject<'a> {
    /// File name without ending.
    pub file: &'a str,
    /// User name for the API server.
    pub common_name: &'a str,
    /// Group for the API server.
    pub organization: Option<&'a str>,
    /// Names under which it is reached as a server.
    pub names: &'a [&'a str],
    /// Addresses under which it is reached as a server.
    pub addresses: &'a [IpAddr],
}

impl Authority {
    /// Makes the authority, `ca.crt`, and the key that signs service account tokens, `sa.key` and `sa.pub`.
    pub fn new(run: &Path) -> Result<Self> {
        let dir = run.join("pki");
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished("testbed-ca", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().context("make the key of the certificate authority")?;
        let certificate = params.self_signed(&key).context("sign the certificate authority")?.pem();
        write(&dir.join("ca.crt"), &certificate)?;
        write(&dir.join("ca.key"), &key.serialize_pem())?;
        let tokens = KeyPair::generate().context("make the key of service account tokens")?;
        write(&dir.join("sa.key"), &tokens.serialize_pem())?;
        write(&dir.join("sa.pub"), &tokens.public_key_pem())?;
        Ok(Self { dir, issuer: Issuer::new(params, key), certificate })
    }

    /// Path of a file in `pki/`.
    pub fn path(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }

    /// Signs a certificate for server and client use; writes `<file>.crt` and `<file>.key`.
    pub fn sign(&self, subject: &Subject<'_>) -> Result<Identity> {
        let mut params =
            CertificateParams::new(subject.names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .with_context(|| format!("names of certificate {}", subject.file))?;
        params.subject_alt_names.extend(subject.addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name = distinguished(subject.common_name, subject.organization);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().with_context(|| format!("make the key of {}", subject.file))?;
        let signed = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("sign the certificate of {}", subject.file))?;
        let identity = Identity { certificate: signed.pem(), key: key.serialize_pem() };
        write(&self.dir.join(format!("{}.crt", subject.file)), &identity.certificate)?;
        write(&self.dir.join(format!("{}.key", subject.file)), &identity.key)?;
        Ok(identity)
    }

    /// A client certificate and its kubeconfig `<file>.conf`, whose path is returned.
    pub fn client(&self, file: &str, common_name: &str, organization: Option<&str>) -> Result<PathBuf> {
        let identity = self.sign(&Subject { file, common_name, organization, names: &[], addresses: &[] })?;
        let user = json!({
            "client-certificate-data": base64(&identity.certificate),
            "client-key-data": base64(&identity.key),
        });
        let path = self.dir.join(format!("{file}.conf"));
        write(&path, &kubeconfig(&layout::hub().v4.to_string(), &self.certificate, &user))?;
        Ok(path)
    }
}

/// A signed certificate with its key, both PEM.
pub struct Identity {
    certificate: String,
    key: String,
}

/// A kubeconfig for the API server at `address`. The server name is fixed so that any address that leads there will do.
pub fn kubeconfig(address: &str, authority: &str, user: &serde_json::Value) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": {
            "server": format!("https://{address}:{API_PORT}"),
            "certificate-authority-data": base64(authority),
            "tls-server-name": "kubernetes",
        }}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "user"}}],
        "current-context": "testbed",
    });
    format!("{config:#}\n")
}

fn distinguished(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Standard base64 with padding, as kubeconfig data fields want it.
fn base64(text: &str) -> String {
    serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec()))
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeconfig_data_is_base64() {
        assert_eq!(base64("any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
    }
}
