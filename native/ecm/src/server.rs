//! The program as a whole: what is started, in which order, and how it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, kill_process};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::backlog::Backlogs;
use crate::bosh::Sessions;
use crate::certificates::{self, CertificateError, TlsServer};
use crate::config::{Again, Config, ConfigError};
use crate::control::{self, ControlError, Reloaded, Serve};
use crate::enforce::enforce_budgets;
use crate::fleet::{Fleet, FleetError};
use crate::front::accept::BindError;
use crate::front::inherited::{InheritError, Inherited};
use crate::front::listener::{Context, Listener};
use crate::front::peers::PeerListener;
use crate::logging::Logging;
use crate::monitor::{Monitor, Watched};
use crate::node::{Keeper, KeeperError, Nodes};
use crate::open_files::Room;
use crate::peer::clients::Clients;
use crate::registries::Registries;
use crate::settings::{CurrentSettings, Settings};
use crate::shutdown::{GROUPS, Phase, Phases};
use crate::signals::{Received, Signals};
use crate::trunk::{OutputBudget, TlsError, load_tls};

/// How long the last closes may take to be written to the trunk, and to the clients.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often it is looked whether a trunk is up, so that another process can be replaced.
const REPLACE_INTERVAL: Duration = Duration::from_millis(100);

/// How often the file of ticket keys is looked at.
const TICKET_KEYS_INTERVAL: Duration = Duration::from_secs(10);

/// How long clients that were accepted last have for their first request before the first clients are let go.
const FIRST_WORDS: Duration = Duration::from_secs(1);

/// Why the program can't run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration file can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener's address can't be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A socket that it was started with can't be used.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// The nodes can't be had.
    #[error(transparent)]
    Nodes(#[from] KeeperError),
    /// Commands can't come.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Signals can't be received.
    #[error("can't receive signals: {0}")]
    Signals(std::io::Error),
    /// The trunks' certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The clients' certificates can't be used.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// It can't be one of several.
    #[error(transparent)]
    Fleet(#[from] FleetError),
}

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All that was due was done, or its time was up.
    Orderly,
    /// A second signal said not to wait.
    AtOnce,
}

/// What the program was started with.
#[derive(Debug)]
pub struct Started {
    /// The file of its configuration.
    pub config_file: Option<PathBuf>,
    /// The limit of open files, if there is one.
    pub open_files: Option<u64>,
    /// The process whose place it takes.
    pub replaces: Option<Pid>,
}

/// Serves until a signal says to end.
///
/// # Errors
/// [`ServerError`] if it can't start.
pub async fn run(config: Config, started: Started, logging: Logging) -> Result<Exit, ServerError> {
    let open_files = started.open_files;
    let mut signals = Signals::new().map_err(ServerError::Signals)?;
    let certificates = certificates::load(&config, None)?;
    let settings = Settings::new(&config).with_tls(certificates);
    let settings = Arc::new(CurrentSettings::new(settings));
    let budget = Arc::new(OutputBudget::new(&config.limits));
    let room = Room::of(open_files, &config);
    tell_room(room, open_files, &config);
    let clients = Arc::new(Clients::new(room.clients));
    let backlogs = Arc::new(Backlogs::new(config.limits.max_input_buffer));
    let keeper = Arc::new(Keeper::new(
        &config,
        load_tls(config.trunk.tls.as_ref())?,
        &budget,
        &backlogs,
    )?);
    let nodes = Arc::clone(keeper.nodes());
    let registries = Arc::new(Registries::new(Arc::clone(&nodes), backlogs));
    let phases = Arc::<Phases>::default();
    let mut inherited = inherit(started.replaces)?;
    let (finish, finish_receiver) = watch::channel(false);
    let fleet = Fleet::start(&config, &budget, &registries.backlogs)?;
    let sessions = Arc::new(Sessions::new(phases.last()).with_fleet(fleet.clone()));
    let context = Arc::new(Context {
        registries: Arc::clone(&registries),
        settings: Arc::clone(&settings),
        clients: Arc::clone(&clients),
        sessions: Arc::clone(&sessions),
        refused: Arc::new(Semaphore::new(
            usize::try_from(room.refused).unwrap_or(Semaphore::MAX_PERMITS),
        )),
        phases: Arc::clone(&phases),
    });
    let listeners = config
        .listeners
        .iter()
        .map(|listener| Listener::bind(listener, &mut inherited, Arc::clone(&context)))
        .collect::<Result<Vec<_>, _>>()?;
    let peers = fleet
        .as_ref()
        .map(|fleet| PeerListener::bind(Arc::clone(fleet), &mut inherited, Arc::clone(&context)))
        .transpose()?;
    if let Some(address) = config.metrics.address {
        let watched = Watched {
            registries: Arc::clone(&registries),
            budget: Arc::clone(&budget),
            admission: phases.admission(),
        };
        let monitor = Monitor::bind(address, &mut inherited, watched)?;
        tokio::spawn(monitor.run());
    }
    inherited.all_taken()?;
    enforce_budgets(&budget, &registries, fleet.as_ref());
    let trunks = tokio::spawn(Arc::clone(&keeper).run(finish_receiver));
    tokio::spawn(Arc::clone(&sessions).sweep());
    tokio::spawn(refresh_ticket_keys(Arc::clone(&settings)));
    if let Some(fleet) = &fleet {
        tokio::spawn(Arc::clone(fleet).keep_keys());
    }
    if let Some(peers) = peers {
        tokio::spawn(peers.run());
    }
    for listener in listeners {
        tokio::spawn(listener.run());
    }
    if let Some(process) = started.replaces {
        tokio::spawn(replace(process, Arc::clone(&nodes)));
    }

    let (reload_sender, mut reloads) = mpsc::channel(1);
    let control = match &config.control.socket {
        Some(path) => {
            let listener = control::Listener::bind(path, started.replaces.is_some())?;
            let serve = Serve {
                nodes: Arc::clone(&nodes),
                reloads: reload_sender,
            };
            Some(tokio::spawn(serve.run(listener)))
        }
        None => None,
    };

    let mut reloading = Reloading {
        config,
        config_file: started.config_file,
        settings,
        registries,
        budget,
        keeper,
        fleet: fleet.clone(),
        logging,
        open_files,
        room,
    };
    let received = loop {
        tokio::select! {
            received = signals.next() => match received {
                Received::Reload => drop(reloading.reload()),
                received => break received,
            },
            Some(reload) = reloads.recv() => {
                // Whoever asked may be gone.
                let _ = reload.send(reloading.reload());
            }
        }
    };
    let limits = reloading.settings.get().limits.clone();
    if received == Received::Leave {
        let spread = limits.close_spread;
        tracing::info!(
            clients = clients.count(),
            "leaving: clients are disconnected over the next {spread:?}; SIGTERM ends it sooner"
        );
        tokio::select! {
            () = leave(&phases, &sessions, &nodes, spread) => {}
            () = signals.end() => {}
        }
    }
    tracing::info!(
        clients = clients.count(),
        "ending: answers in progress have {:?} to finish; a second signal ends at once",
        limits.shutdown_timeout
    );
    let ending = end(
        &phases,
        &finish,
        &clients,
        &nodes,
        Upstreams { trunks, fleet },
        limits.shutdown_timeout,
    );
    let exit = tokio::select! {
        () = ending => Exit::Orderly,
        () = signals.end() => Exit::AtOnce,
    };
    if let Some(control) = control {
        // It removes its socket.
        control.abort();
        let _ = control.await;
    }
    Ok(exit)
}

/// Says so if there may be more clients than there is room for.
fn tell_room(room: Room, open_files: Option<u64>, config: &Config) {
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

/// Reads the file of ticket keys again whenever it was replaced.
async fn refresh_ticket_keys(settings: Arc<CurrentSettings>) {
    let mut told = String::new();
    loop {
        sleep(TICKET_KEYS_INTERVAL).await;
        let tls = settings.get().tls.clone();
        let Some(keys) = tls.as_deref().and_then(TlsServer::ticket_keys) else {
            continue;
        };
        match keys.refresh() {
            Ok(true) => {
                told.clear();
                tracing::info!("new ticket keys from {}", keys.path().display());
            }
            Ok(false) => {}
            Err(error) => {
                let error = error.to_string();
                if error != told {
                    tracing::error!("the ticket keys are not reloaded: {error}");
                    told = error;
                }
            }
        }
    }
}

/// The listening sockets that are there already.
fn inherit(replaces: Option<Pid>) -> Result<Inherited, InheritError> {
    let mut inherited = Inherited::from_environment()?;
    if let Some(process) = replaces
        && let Err(error) = inherited.add_those_of(process)
    {
        tracing::warn!(
            "can't take the listening sockets of process {}: {error}; is it a megaphone-ecm of the same user? If so, \
             the system has to allow it: kernel.yama.ptrace_scope = 0, or the capability CAP_SYS_PTRACE",
            process.as_raw_nonzero()
        );
    }
    Ok(inherited)
}

/// Tells the process that this one has its place, as soon as a trunk is up.
async fn replace(process: Pid, nodes: Arc<Nodes>) {
    while nodes.trunk_count() == 0 {
        sleep(REPLACE_INTERVAL).await;
    }
    match kill_process(process, rustix::process::Signal::USR1) {
        Ok(()) => tracing::info!(
            "process {} was told to let its clients go",
            process.as_raw_nonzero()
        ),
        Err(error) => tracing::error!(
            "process {} can't be told to let its clients go (SIGUSR1): {error}",
            process.as_raw_nonzero()
        ),
    }
}

/// Accepts nobody any more and lets the clients go, group by group.
async fn leave(phases: &Phases, sessions: &Sessions, nodes: &Nodes, spread: Duration) {
    phases.hand_over();
    sleep(FIRST_WORDS).await;
    for group in 0..GROUPS {
        phases.let_go(group);
        sessions.let_go(group);
        nodes.wake_all();
        sleep(spread.div_f64(GROUPS as f64)).await;
    }
}

/// What ends after the clients have left.
struct Upstreams {
    /// What keeps the trunks up.
    trunks: JoinHandle<()>,
    fleet: Option<Arc<Fleet>>,
}

async fn end(
    phases: &Phases,
    finish: &watch::Sender<bool>,
    clients: &Clients,
    nodes: &Nodes,
    upstreams: Upstreams,
    shutdown_timeout: Duration,
) {
    let Upstreams { trunks, fleet } = upstreams;
    let until = Instant::now() + shutdown_timeout;
    phases.end(Phase::Draining);
    nodes.wake_all();
    if timeout_at(until, clients.all_left()).await.is_err() {
        tracing::warn!(
            clients = clients.count(),
            "shutdown_timeout has passed: closing the clients that are left"
        );
    }
    phases.end(Phase::Ended);
    let _ = timeout(LAST_WORDS, clients.all_left()).await;
    finish.send_replace(true);
    if let Some(fleet) = fleet {
        fleet.finish(LAST_WORDS).await;
    }
    // ejabberd may be behind with what clients sent that have left.
    let until = until.max(Instant::now() + LAST_WORDS);
    if timeout_at(until, trunks).await.is_err() {
        tracing::warn!("ejabberd did not read in time that the last clients are gone");
    }
}

/// What a reload changes, and what it is compared with.
struct Reloading {
    config: Config,
    config_file: Option<PathBuf>,
    settings: Arc<CurrentSettings>,
    registries: Arc<Registries>,
    budget: Arc<OutputBudget>,
    keeper: Arc<Keeper>,
    fleet: Option<Arc<Fleet>>,
    logging: Logging,
    open_files: Option<u64>,
    room: Room,
}

impl Reloading {
    /// Reads the file again, and goes on with all that can change of it, or with nothing.
    fn reload(&mut self) -> Result<Reloaded, String> {
        let Some(file) = self.config_file.clone() else {
            let error = "there is no configuration file to reload";
            tracing::warn!("{error}");
            return Err(error.to_owned());
        };
        match self.read(&file) {
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
                Err(error.to_string())
            }
        }
    }

    /// Gives the keys that need a restart. Up to the last step that can fail nothing is changed.
    fn read(&mut self, file: &Path) -> Result<Vec<&'static str>, ServerError> {
        let Again {
            config,
            needs_restart,
        } = self.config.read_again(file)?;
        // The files may have changed though their names did not.
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
        // What is compared next time is what runs.
        self.config = config;
        Ok(needs_restart)
    }
}
