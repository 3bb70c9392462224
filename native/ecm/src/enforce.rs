//! What all clients together may have waiting, held to its limits.

use std::sync::Arc;

use crate::fleet::Fleet;
use crate::metrics::Reason;
use crate::registries::Registries;
use crate::trunk::OutputBudget;

/// Has those with the most go, whenever too much waits.
pub fn enforce_budgets(
    output: &Arc<OutputBudget>,
    registries: &Arc<Registries>,
    fleet: Option<&Arc<Fleet>>,
) {
    let (output, of) = (Arc::clone(output), Arc::clone(registries));
    let peers = fleet.map(|fleet| Arc::clone(fleet.shared()));
    let of_peers = peers.clone();
    tokio::spawn(async move {
        let what = "more output waited for clients than max_output_buffer";
        let holders = || {
            let mut holders = of.nodes.output_holders();
            holders.extend(of_peers.iter().flat_map(|peers| peers.output_holders()));
            holders
        };
        let total = output.total();
        total.enforce(what, Reason::OutputBuffer, holders).await;
    });
    let registries = Arc::clone(registries);
    tokio::spawn(async move {
        let what = "more input of clients waited than max_input_buffer";
        let holders = || {
            let mut holders = registries.backlogs.holders();
            holders.append(&mut registries.nodes.input_holders());
            holders.extend(peers.iter().flat_map(|peers| peers.input_holders()));
            holders
        };
        let total = registries.backlogs.budget();
        total.enforce(what, Reason::InputBuffer, holders).await;
    });
}
