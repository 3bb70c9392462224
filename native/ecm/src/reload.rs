//! Reads the configuration again while the program runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::certificates;
use crate::check;
use crate::config::{Again, Config, Reading};
use crate::control::Reloaded;
use crate::failure::ServerError;
use crate::fleet::Fleet;
use crate::logging::Logging;
use crate::node::Keeper;
use crate::open_files::Room;
use crate::panics;
use crate::registries::Registries;
use crate::settings::{CurrentSettings, Settings};
use crate::trunk::{OutputBudget, load_tls};

/// What a reload changes, and what it is compared with.
pub struct Reloading {
    /// The configuration that the program runs with.
    pub config: Config,
    /// Its file, if there is one.
    pub config_file: Option<PathBuf>,
    /// What new clients are held to.
    pub settings: Arc<CurrentSettings>,
    /// What clients share.
    pub registries: Arc<Registries>,
    /// What waits for clients.
    pub budget: Arc<OutputBudget>,
    /// What keeps the trunks up.
    pub keeper: Arc<Keeper>,
    /// The other ECMs.
    pub fleet: Option<Arc<Fleet>>,
    /// What logs.
    pub logging: Logging,
    /// The limit of open files, if there is one.
    pub open_files: Option<u64>,
    /// How many clients there is room for.
    pub room: Room,
}

impl Reloading {
    /// Reads the file again and applies everything in it that can change, or nothing.
    pub fn reload(&mut self) -> Result<Reloaded, String> {
        let Some(file) = self.config_file.clone() else {
            let error = "there is no configuration file to reload";
            tracing::warn!("{error}");
            return Err(error.to_owned());
        };
        let read = panics::caught_in(|| self.read(&file).map_err(|error| error.to_string()));
        match read.unwrap_or_else(|panicked| Err(panicked.to_string())) {
            Ok(needs_restart) => {
                tracing::info!("configuration reloaded from {}", file.display());
                if !needs_restart.is_empty() {
                    tracing::warn!(
                        "changed, but in effect only after a restart: {}",
                        needs_restart.join(", ")
                    );
                }
                Ok(Reloaded { needs_restart })
            }
            Err(error) => {
                tracing::error!("the configuration is not reloaded: {error}");
                Err(error)
            }
        }
    }

    /// Returns the keys that need a restart. Nothing is changed before the last step that can fail.
    fn read(&mut self, file: &Path) -> Result<Vec<&'static str>, ServerError> {
        let reading = Reading::of(file)?;
        let warnings = check::unwise(&reading);
        let Again {
            config,
            needs_restart,
        } = self.config.read_again(reading)?;
        // The files may have changed even if their names have not.
        let tls = load_tls(config.trunk.tls.as_ref())?;
        let running = self.settings.get();
        let certificates = certificates::load(&config, running.tls.as_deref())?;
        if let (Some(fleet), Some(config)) = (&self.fleet, &config.fleet) {
            fleet.reload(config)?;
        }
        self.keeper.set_tls(tls)?;
        self.keeper.set_config(&config);
        self.logging.set_level(&config.log.level);
        self.budget.set_limits(&config.limits);
        self.registries.set_limits(&config.limits);
        self.settings
            .set(Settings::new(&config).with_tls(certificates));
        if config.limits.max_connections != self.config.limits.max_connections {
            tell_room(self.room, self.open_files, &config);
        }
        // Next time it is compared with what runs now.
        self.config = config;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(needs_restart)
    }
}

/// Warns if there may be more clients than there is room for.
pub fn tell_room(room: Room, open_files: Option<u64>, config: &Config) {
    let wanted = config.limits.max_connections;
    if let Some(limit) = open_files
        && wanted > room.clients
    {
        tracing::warn!(
            "max_connections is {wanted}, but the limit of open files ({limit}) leaves room for {} \
             clients: past these, others get 503; raise it (ulimit -n, LimitNOFILE)",
            room.clients
        );
    }
}
