//! What is wrong with a configuration file, and where.

use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line of it is wrong.
    #[error("{}:{line}:{column}: {key}{message}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The key with its table's name and `: `, or nothing where there is none.
        key: String,
        /// What is wrong, and what is allowed.
        message: String,
    },
    /// Several lines are.
    #[error("{first}; {more} more: `megaphone-ecm check --config {}` shows all", path.display())]
    Several {
        /// The first.
        first: Box<Self>,
        /// How many others there are.
        more: usize,
        /// Which file.
        path: PathBuf,
    },
    /// It is right, but not for the program that runs.
    #[error("{}: {message}", path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// Why not.
        message: String,
    },
}

impl ConfigError {
    /// What is wrong at a byte of the text.
    pub(super) fn at(path: &Path, text: &str, start: usize, message: &str) -> Self {
        let before = text.get(..start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let key = key_at(text, line_start).map_or_else(String::new, |key| format!("{key}: "));
        // What is wrong with a file begins with its key.
        let message = message.strip_prefix(&*key).unwrap_or(message);
        Self::Wrong {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            key,
            message: message.replace('\n', ", "),
        }
    }
}

/// The key that the line at `line_start` is about, with its table: `limits.max_head`. A line inside
/// a list is about the key above it.
fn key_at(text: &str, line_start: usize) -> Option<String> {
    let line_end = text[line_start..]
        .find('\n')
        .map_or(text.len(), |at| line_start + at);
    let mut key = None;
    for line in text[..line_end].lines().rev().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_matches(['[', ']']).trim();
            return Some(key.map_or_else(|| table.to_owned(), |key| format!("{table}.{key}")));
        }
        if key.is_none()
            && let Some((name, _)) = line.split_once('=')
        {
            key = Some(name.trim());
        }
    }
    key.map(str::to_owned)
}
