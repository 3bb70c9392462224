//! `megaphone-ecm check`: everything that is wrong with a configuration and the files that it names, and everything that
//! is legal but unwise.

use std::fmt::Display;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use tokio_rustls::rustls::pki_types::UnixTime;

use crate::certificates;
use crate::config::{Config, ConfigError, Identity, NodeConfig, Reading};
use crate::fleet::Fleet;
use crate::pem;
use crate::secrets::SecretsFile;
use crate::trunk::{TlsError, load_tls};
use crate::validity;

/// The bits of a file's mode by which others than its user and its group may read it.
const OTHERS_READ: u32 = 0o004;

/// Checks a file and prints the findings; the exit status is 0 if the program can run with it, 1 if not.
pub fn run(path: &Path) -> ExitCode {
    let reading = match Reading::of(path) {
        Ok(reading) => reading,
        Err(error) => {
            eprintln!("megaphone-ecm: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Findings { errors, warnings } = Findings::of(&reading);
    for warning in unwise(&reading).iter().chain(&warnings) {
        eprintln!("megaphone-ecm: warning: {warning}");
    }
    for error in reading.errors().iter().chain(&errors) {
        eprintln!("megaphone-ecm: {error}");
    }
    if reading.errors().is_empty() && errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What is legal in a file, and with the certificates that it names, but unwise.
pub fn unwise(reading: &Reading) -> Vec<ConfigError> {
    let mut unwise = reading.warnings();
    let certificates = reading.config().into_iter();
    let certificates = certificates.flat_map(|config| validity::warnings(config, UnixTime::now()));
    unwise.extend(certificates.map(|(part, message)| reading.at(&part, &message)));
    unwise
}

/// The findings about the files that a configuration names.
#[derive(Debug, Default)]
struct Findings {
    errors: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
}

/// What has to be in a file.
#[derive(Debug, Clone, Copy)]
enum Content {
    Certificates,
    Key,
    Secrets,
}

impl Findings {
    fn of(reading: &Reading) -> Self {
        let mut findings = Self::default();
        let Some(config) = reading.config() else {
            return findings;
        };
        for (part, path, content) in files(config) {
            findings.file(reading, &part, path, content);
        }
        // Files that can't be read by themselves can't be used together either.
        if findings.errors.is_empty() {
            findings.together(reading, config);
        }
        findings
    }

    fn file(&mut self, reading: &Reading, part: &str, path: &Path, content: Content) {
        let wrong = match content {
            Content::Certificates => pem::certificates(path).err().map(|it| it.to_string()),
            Content::Key => pem::private_key(path).err().map(|it| it.to_string()),
            Content::Secrets => {
                let loaded = SecretsFile::load(path, |_| Some(()));
                loaded.err().map(|it| it.to_string())
            }
        };
        if let Some(message) = wrong {
            self.errors.push(reading.at(part, &message));
            return;
        }
        let is_secret = !matches!(content, Content::Certificates);
        let mode = std::fs::metadata(path).map_or(0, |file| file.permissions().mode());
        if is_secret && mode & OTHERS_READ != 0 {
            let path = path.display();
            let message = format!("every user of this machine can read {path}; chmod o= {path}");
            self.warnings.push(reading.at(part, &message));
        }
    }

    /// The parts of it that do not fit together.
    fn together(&mut self, reading: &Reading, config: &Config) {
        for (place, identity) in config.certificates.iter().enumerate() {
            if let Err(error) = certificates::check(identity) {
                self.add(reading, &format!("certificate.{place}"), &error);
            }
        }
        if !self.errors.is_empty() {
            return;
        }
        if let Err(error) = certificates::load(config, None) {
            self.add(reading, "certificate", &error);
        }
        if let Err(error) = check_trunks(config) {
            self.add(reading, "trunk.tls", &error);
        }
        if let Some(Err(error)) = config.fleet.as_ref().map(Fleet::check) {
            self.add(reading, "fleet", &error);
        }
    }

    /// An error of a part, or of the key that the error names.
    fn add(&mut self, reading: &Reading, part: &str, error: &dyn Display) {
        let text = error.to_string();
        let named = text.split_once(": ").map(|(key, _)| key);
        let is_key = |key: &&str| key.starts_with(part) && !key.contains(' ');
        let part = named.filter(is_key).unwrap_or(part);
        self.errors.push(reading.at(part, &text));
    }
}

fn check_trunks(config: &Config) -> Result<(), TlsError> {
    if let Some(tls) = load_tls(config.trunk.tls.as_ref())? {
        for host in config.all_nodes().iter().filter_map(NodeConfig::host) {
            tls.of_host(host)?;
        }
    }
    Ok(())
}

/// All files that it names, the keys that name them, and what has to be in them.
fn files(config: &Config) -> Vec<(String, &Path, Content)> {
    let mut files = Vec::new();
    for (table, Identity { cert, key }) in config.identities() {
        files.push((format!("{table}.cert"), &**cert, Content::Certificates));
        files.push((format!("{table}.key"), key, Content::Key));
    }
    if let Some(tls) = &config.trunk.tls {
        files.push(("trunk.tls.ca".to_owned(), &*tls.ca, Content::Certificates));
    }
    if let Some(fleet) = &config.fleet {
        files.push(("fleet.key".to_owned(), &*fleet.key, Content::Secrets));
        if let Some(tls) = &fleet.tls {
            files.push(("fleet.tls.ca".to_owned(), &*tls.ca, Content::Certificates));
        }
    }
    if let Some(path) = &config.xmpp.client_ca {
        files.push(("xmpp.client_ca".to_owned(), path, Content::Certificates));
    }
    if let Some(path) = &config.tls.ticket_keys {
        files.push(("tls.ticket_keys".to_owned(), path, Content::Secrets));
    }
    files
}
