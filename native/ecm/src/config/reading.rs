//! A file, read as far as possible: everything that is wrong with it, and everything that is legal but unwise.

use std::path::{Path, PathBuf};

use super::advice;
use super::document::{Document, Places};
use super::error::ConfigError;
use super::file::Config;

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file, the place in it, the key and what it may be.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Reading::of(path)?.into_config()
    }
}

/// The findings about a file.
#[derive(Debug)]
pub struct Reading {
    path: PathBuf,
    text: String,
    places: Places,
    /// The configuration without the parts that are wrong; none if these can't be told apart.
    config: Option<Config>,
    errors: Vec<ConfigError>,
}

impl Reading {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] if there is no such file.
    pub fn of(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::of_text(path, text))
    }

    /// Reads the text of the file at `path`.
    pub fn of_text(path: &Path, text: String) -> Self {
        let (mut document, errors) = Document::parse(&text);
        let mut starts = Vec::new();
        let is_toml = errors.is_empty();
        let wrong = |error: &toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            (start, error.message().to_owned())
        };
        starts.extend(errors.iter().map(wrong));
        let mut config = None;
        // Text that is not TOML might be read in another way than it was meant.
        while is_toml && config.is_none() {
            let error = match document.read::<Config>() {
                Ok(read) => {
                    config = Some(read);
                    break;
                }
                Err(error) => error,
            };
            match error.span().map(|span| document.take_out(&span)) {
                Some(Some(false)) => {}
                Some(Some(true)) => starts.push(wrong(&error)),
                Some(None) | None => {
                    starts.push(wrong(&error));
                    break;
                }
            }
        }
        let places = document.places();
        if let Some(config) = &mut config {
            config.names_listeners = places.has("listener");
            let conflicts = config.conflicts(places.has("trunk.address"));
            for conflict in conflicts {
                // An error that is known already may be the cause.
                if !conflict.tables.iter().any(|it| document.is_incomplete(it)) {
                    starts.push((places.of(&conflict.part), conflict.message));
                }
            }
        }
        starts.sort();
        let at = |(start, message): (usize, String)| ConfigError::at(path, &text, start, &message);
        let errors = starts.into_iter().map(at).collect();
        Self {
            path: path.to_owned(),
            places,
            config,
            errors,
            text,
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it, in the order of the file.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// The configuration without the parts that are wrong.
    #[must_use]
    pub const fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// What is legal but unwise.
    #[must_use]
    pub fn warnings(&self) -> Vec<ConfigError> {
        let warnings = self.config.iter().flat_map(advice::of);
        warnings
            .map(|(part, message)| self.at(&part, &message))
            .collect()
    }

    /// A finding about a part of it, such as `certificate.0.key`, with its place.
    #[must_use]
    pub fn at(&self, part: &str, message: &str) -> ConfigError {
        ConfigError::at(&self.path, &self.text, self.places.of(part), message)
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`ConfigError`] if anything is wrong with it.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let count = self.errors.len();
        match (self.errors.into_iter().next(), self.config) {
            (None, Some(config)) => Ok(config),
            (first, _) => {
                let first = first.unwrap_or_else(|| ConfigError::Unfit {
                    path: self.path.clone(),
                    message: "it can't be read".to_owned(),
                });
                Err(match count {
                    0 | 1 => first,
                    count => ConfigError::Several {
                        first: Box::new(first),
                        more: count - 1,
                        path: self.path,
                    },
                })
            }
        }
    }
}
