//! The program as a whole: what is started, in which order, and how it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, kill_process, test_kill_process};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::backlog::Backlogs;
use crate::bosh::Sessions;
use crate::certificates::{self, TlsServer};
use crate::config::Config;
use crate::control::{self, Serve};
use crate::enforce::enforce_budgets;
use crate::failure::ServerError;
use crate::fleet::{Fleet, Peer, Shared};
use crate::front::inherited::{InheritError, Inherited};
use crate::front::listener::{Context, Listener};
use crate::front::peers::PeerListener;
use crate::front::successor::SuccessorListener;
use crate::logging::Logging;
use crate::metrics::SESSIONS;
use crate::monitor::{Monitor, Watched};
use crate::node::{Keeper, Nodes};
use crate::notify::{Condition, Notifier};
use crate::open_files::Room;
use crate::panics::lasting;
use crate::peer::clients::Clients;
use crate::registries::Registries;
use crate::reload::{Reloading, tell_room};
use crate::settings::{CurrentSettings, Settings};
use crate::shutdown::{Admission, GROUPS, Phase, Phases};
use crate::signals::{Received, Signals};
use crate::trunk::{OutputBudget, load_tls};

/// How long the last closes may take to be written to the trunk, and to the clients.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often it is looked whether a trunk is up, so that another process can be replaced.
const REPLACE_INTERVAL: Duration = Duration::from_millis(100);

/// How often the file of ticket keys is looked at.
const TICKET_KEYS_INTERVAL: Duration = Duration::from_secs(10);

/// How long clients that were accepted last have for their first request before the first clients are let go.
const FIRST_WORDS: Duration = Duration::from_secs(1);

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
    let of_peers = Arc::new(Shared::new(&config, &budget, &registries.backlogs));
    let fleet = Fleet::start(&config, &of_peers)?;
    let predecessor = started.replaces.map(|process| {
        let peer = Arc::new(Peer::predecessor(process, of_peers.connect_timeout()));
        tokio::spawn(Arc::clone(&peer).stay_once(Arc::clone(&of_peers)));
        peer
    });
    let sessions = Sessions::new(phases.last()).with_fleet(fleet.clone());
    let sessions = Arc::new(sessions.with_predecessor(predecessor));
    let context = Arc::new(Context {
        registries: Arc::clone(&registries),
        settings: Arc::clone(&settings),
        clients: Arc::clone(&clients),
        sessions: Arc::clone(&sessions),
        refused: Arc::new(Semaphore::new(
            usize::try_from(room.refused).unwrap_or(Semaphore::MAX_PERMITS),
        )),
        of_peers: Arc::clone(&of_peers),
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
        tokio::spawn(lasting(monitor, |it| Box::pin(it.run())));
    }
    inherited.all_taken()?;
    enforce_budgets(&budget, &registries, &of_peers);
    let trunks = tokio::spawn(Arc::clone(&keeper).run(finish_receiver));
    tokio::spawn(lasting(Arc::clone(&sessions), |it| {
        Box::pin(Arc::clone(it).sweep())
    }));
    tokio::spawn(lasting(Arc::clone(&settings), |it| {
        Box::pin(refresh_ticket_keys(Arc::clone(it)))
    }));
    if let Some(fleet) = &fleet {
        tokio::spawn(lasting(Arc::clone(fleet), |it| {
            Box::pin(Arc::clone(it).keep_keys())
        }));
    }
    if let Some(peers) = peers {
        tokio::spawn(lasting(peers, |it| Box::pin(it.run())));
    }
    if let Some(successors) = SuccessorListener::bind(Arc::clone(&context)) {
        tokio::spawn(lasting(successors, |it| Box::pin(it.run())));
    }

    let (reload_sender, mut reloads) = mpsc::channel(1);
    let control = match &config.control.socket {
        Some(path) => {
            let listener = control::Listener::bind(path, started.replaces.is_some())?;
            let serve = Serve {
                nodes: Arc::clone(&nodes),
                reloads: reload_sender,
            };
            Some(tokio::spawn(lasting(
                (serve, listener),
                |(serve, listener)| Box::pin(serve.run(listener)),
            )))
        }
        None => None,
    };

    let notifier = Notifier::from_environment(started.replaces.is_some());
    match started.replaces {
        Some(process) => {
            let nodes = Arc::clone(&nodes);
            tokio::spawn(async move {
                replace(process, nodes, notifier).await;
                // Not before, or requests for sessions that begin here would come to that one.
                listen(listeners);
            });
        }
        None => {
            listen(listeners);
            notifier.ready();
        }
    }
    let (of_clients, of_nodes, admission) =
        (Arc::clone(&clients), Arc::clone(&nodes), phases.admission());
    let condition = move || condition(*admission.borrow(), &of_clients, &of_nodes);
    tokio::spawn(lasting(condition, move |condition| {
        Box::pin(notifier.keep_telling(&*condition))
    }));

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
                Received::Reload => {
                    notifier.reloading();
                    drop(reloading.reload());
                    notifier.ready();
                }
                received => break received,
            },
            Some(reload) = reloads.recv() => {
                notifier.reloading();
                // The client that asked may be gone.
                let _ = reload.send(reloading.reload());
                notifier.ready();
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
            () = leave(&phases, &sessions, &of_peers, &nodes, spread) => {}
            () = signals.end() => {}
        }
    } else {
        // One that has left is not what systemd asks about.
        notifier.stopping(limits.shutdown_timeout + 2 * LAST_WORDS);
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
        Upstreams {
            trunks,
            fleet,
            of_peers,
        },
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

/// Accepts clients.
fn listen(listeners: Vec<Listener>) {
    for listener in listeners {
        tokio::spawn(lasting(listener, |it| Box::pin(it.run())));
    }
}

/// Tells the process that this one has its place, as soon as a trunk is up. Until then that one accepts clients, if it
/// is there.
async fn replace(process: Pid, nodes: Arc<Nodes>, notifier: Notifier) {
    while nodes.trunk_count() == 0 && test_kill_process(process).is_ok() {
        sleep(REPLACE_INTERVAL).await;
    }
    notifier.ready_in_place();
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

/// How the program is, in a line.
fn condition(admission: Admission, clients: &Clients, nodes: &Nodes) -> Condition {
    let clients = clients.count();
    match admission {
        Admission::Open => {
            let sessions: u64 = SESSIONS.values().map(|(_, count)| count).sum();
            let trunks = nodes.trunk_count();
            Condition::Own(format!(
                "{clients} clients, {sessions} sessions, {trunks} trunks up"
            ))
        }
        Admission::HandedOver => Condition::Replaced,
        Admission::Closed => Condition::Own(format!("ending: {clients} clients are left")),
    }
}

/// Accepts nobody any more and lets the clients go, group by group.
async fn leave(
    phases: &Phases,
    sessions: &Sessions,
    of_peers: &Shared,
    nodes: &Nodes,
    spread: Duration,
) {
    phases.hand_over();
    of_peers.hand_over();
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
    of_peers: Arc<Shared>,
}

async fn end(
    phases: &Phases,
    finish: &watch::Sender<bool>,
    clients: &Clients,
    nodes: &Nodes,
    upstreams: Upstreams,
    shutdown_timeout: Duration,
) {
    let Upstreams {
        trunks,
        fleet,
        of_peers,
    } = upstreams;
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
        fleet.finish();
    }
    of_peers.finish(LAST_WORDS).await;
    // ejabberd may be behind with what clients sent that have left.
    let until = until.max(Instant::now() + LAST_WORDS);
    if timeout_at(until, trunks).await.is_err() {
        tracing::warn!("ejabberd did not read in time that the last clients are gone");
    }
}
