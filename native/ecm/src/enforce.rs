//! What all clients together may have waiting, held to its limits.

use std::sync::Arc;

use crate::fleet::Shared;
use crate::metrics::Reason;
use crate::panics::lasting;
use crate::registries::Registries;
use crate::trunk::OutputBudget;

/// Whose waiting input and output is limited.
struct Limited {
    output: Arc<OutputBudget>,
    registries: Arc<Registries>,
    peers: Arc<Shared>,
}

/// Has those with the most go, whenever too much waits.
pub fn enforce_budgets(
    output: &Arc<OutputBudget>,
    registries: &Arc<Registries>,
    peers: &Arc<Shared>,
) {
    let limited = Arc::new(Limited {
        output: Arc::clone(output),
        registries: Arc::clone(registries),
        peers: Arc::clone(peers),
    });
    tokio::spawn(lasting(Arc::clone(&limited), |it| {
        Box::pin(it.enforce_output())
    }));
    tokio::spawn(lasting(limited, |it| Box::pin(it.enforce_input())));
}

impl Limited {
    async fn enforce_output(&self) {
        let what = "more output waited for clients than max_output_buffer";
        let holders = || {
            let mut holders = self.registries.nodes.output_holders();
            holders.append(&mut self.peers.output_holders());
            holders
        };
        let total = self.output.total();
        total.enforce(what, Reason::OutputBuffer, holders).await;
    }

    async fn enforce_input(&self) {
        let what = "more input of clients waited than max_input_buffer";
        let holders = || {
            let mut holders = self.registries.backlogs.holders();
            holders.append(&mut self.registries.nodes.input_holders());
            holders.append(&mut self.peers.input_holders());
            holders
        };
        let total = self.registries.backlogs.budget();
        total.enforce(what, Reason::InputBuffer, holders).await;
    }
}
