//! Answers as people read them.

use super::protocol::{Answer, NodeLine, SessionLine, ShareLine};

/// An answer as text.
pub fn text(answer: &Answer) -> String {
    match answer {
        Answer::Error(text) | Answer::Done(text) => format!("{text}\n"),
        Answer::Nodes(nodes) => columns(
            &[
                "NODE",
                "STATE",
                "CONDITION",
                "TRUNKS",
                "SESSIONS",
                "LEAVING",
                "MAX",
                "HTTP",
                "WEIGHT",
                "SHARE",
                "LOGINS",
                "EJECTIONS",
            ],
            nodes.iter().map(node),
        ),
        Answer::Shares(shares) => shares_text(shares),
        Answer::Sessions(sessions) => columns(
            &["TRANSPORT", "SESSIONS"],
            sessions.iter().map(|line| {
                let SessionLine {
                    transport,
                    sessions,
                } = line;
                vec![transport.clone(), sessions.to_string()]
            }),
        ),
    }
}

fn node(node: &NodeLine) -> Vec<String> {
    let most = |most: Option<String>| most.unwrap_or_else(|| "-".to_owned());
    let limit = most(node.login_limit.map(|limit| limit.to_string()));
    vec![
        node.name.clone(),
        node.state.clone(),
        node.condition.clone(),
        node.trunks.to_string(),
        node.sessions.to_string(),
        node.leaving.to_string(),
        most(node.max_sessions.map(|max| max.to_string())),
        node.http_connections.to_string(),
        node.weight.to_string(),
        format!("{:.0}%", node.share * 100.0),
        format!("{}/{limit}", node.logins),
        node.ejections.to_string(),
    ]
}

fn shares_text(shares: &[ShareLine]) -> String {
    let mut text = columns(
        &["NODE", "SESSIONS", "SHARE", "SURPLUS"],
        shares.iter().map(|line| {
            let numbers = [line.sessions, line.share, line.surplus].map(|it| it.to_string());
            [vec![line.name.clone()], numbers.to_vec()].concat()
        }),
    );
    let balanced = |line: &&ShareLine| line.balanced;
    if shares.iter().filter(balanced).any(|line| line.surplus > 0) {
        text.push_str(
            "Sessions that are more than a node's share move to nodes that have fewer; LEAVING of `nodes` has how many \
             are left. Those that can't move stay.\n",
        );
    } else {
        text.push_str(
            "No node that is ready, well and past its slow start has more than its share.\n",
        );
    }
    for line in shares
        .iter()
        .filter(|line| !line.balanced && line.share > 0)
    {
        text.push_str(&format!(
            "Sessions move to node {} once its slow start is over.\n",
            line.name
        ));
    }
    text
}

/// Rows in columns, each as wide as its widest cell, all aligned to the left.
fn columns(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let sessions =
            [("tcp", 12_345), ("websocket", 6)].map(|(transport, sessions)| SessionLine {
                transport: transport.to_owned(),
                sessions,
            });
        assert_eq!(
            text(&Answer::Sessions(sessions.to_vec())),
            "TRANSPORT  SESSIONS\ntcp        12345\nwebsocket  6\n"
        );
    }
}
