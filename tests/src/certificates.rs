//! Certificates for the TLS suite, made anew by each test.

use crate::cluster::write_secret;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use std::path::{Path, PathBuf};

/// A CA, and the directory of its files.
pub struct Authority {
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

/// Paths of a certificate and its key, as arguments take them.
#[derive(Clone, Debug)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Authority {
    /// A new CA whose files go to `dir`.
    pub fn new(name: &str, dir: &Path) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("a CA can be made");
        let authority = Authority {
            name: name.to_owned(),
            issuer,
            dir: dir.to_owned(),
        };
        std::fs::write(authority.file("ca"), authority.issuer.pem()).expect("the CA's file is written");
        authority
    }

    fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}-{what}.pem", self.name))
    }

    /// Path of the CA's certificate.
    pub fn ca(&self) -> String {
        self.file("ca").display().to_string()
    }

    /// A certificate for this machine, valid now.
    pub fn issue(&self, what: &str) -> Pair {
        self.write(what, CertificateParams::new(names()).expect("names are valid"))
    }

    /// A certificate for this machine that was valid once. Takes the place of one of the same name.
    pub fn issue_expired(&self, what: &str) -> Pair {
        let mut params = CertificateParams::new(names()).expect("names are valid");
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        self.write(what, params)
    }

    /// A certificate for another machine.
    pub fn issue_for(&self, what: &str, host: &str) -> Pair {
        self.write(what, CertificateParams::new([host.to_owned()]).expect("a host name is valid"))
    }

    fn write(&self, what: &str, params: CertificateParams) -> Pair {
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate can be signed");
        let (cert_file, key_file) = (self.file(what), self.file(&format!("{what}-key")));
        std::fs::write(&cert_file, certificate.pem()).expect("a certificate is written");
        write_secret(&key_file, &key.serialize_pem());
        Pair {
            cert: cert_file.display().to_string(),
            key: key_file.display().to_string(),
        }
    }
}

fn names() -> Vec<String> {
    vec!["127.0.0.1".to_owned(), "localhost".to_owned()]
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}
