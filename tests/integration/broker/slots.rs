//! A cluster that is divided anew.

use std::sync::Arc;

use rallypoint_protocol::position::LogKey;
use tokio::task::JoinSet;

use super::ground::{Ground, Servers, Sheet, agree};
use crate::support::room;

/// Slots of one partition of the logs.
const PARTITION: u32 = 64;

pub(super) async fn a_log_whose_slot_moves_goes_on_without_loss(ground: Ground) {
    let Servers::Cluster(cluster) = &ground.servers else { panic!("a cluster") };
    // Those of the first partition lie in the slots that are the first to go.
    let name = (0..).map(|n| format!("lobby/{n}")).find(|name| LogKey::of(&room(name)).first() == 0);
    let user = (0..).map(|n| format!("user/{n}")).find(|name| LogKey::of(&room(name)).first() == 0);
    let sheets = [name, user].map(|name| Sheet::new(&name.expect("one of them")));
    let nodes = Arc::new(ground.nodes(3).await);
    for node in nodes.iter() {
        node.open(&sheets[0]).await;
        node.follow(&sheets[1]).await;
    }
    assert_eq!(ground.place(&sheets[0]).await.server, 0);
    let (moved, is_moved) = tokio::sync::watch::channel(false);
    let mut publishers = JoinSet::new();
    for (at, sheet) in (0..nodes.len()).flat_map(|at| sheets.iter().map(move |sheet| (at, sheet))) {
        let (nodes, sheet, is_moved) = (nodes.clone(), sheet.clone(), is_moved.clone());
        publishers.spawn(async move {
            let mut said = 0;
            // Before, meanwhile and after.
            let mut after = 0;
            while after < 20 {
                after += usize::from(*is_moved.borrow());
                nodes[at].say(&sheet, &format!("{at} {said}")).await;
                said += 1;
            }
            said
        });
    }
    cluster.move_slots(0, 2, PARTITION).await.expect("the slots can be moved");
    moved.send_replace(true);
    let said: usize = publishers.join_all().await.into_iter().sum();
    assert_eq!(ground.place(&sheets[0]).await.server, 2);
    let mut stored = 0;
    for sheet in &sheets {
        let texts = agree(&nodes, sheet).await;
        stored += texts.len();
        for node in nodes.iter() {
            assert_eq!(node.guest.events(&sheet.name).len(), texts.len());
            assert_eq!(node.guest.restarts(&sheet.name), []);
        }
    }
    assert_eq!(stored, said);
}

/// A read that is refused for that finds its way, though it is a transaction.
pub(super) async fn a_room_whose_slot_has_moved_is_opened(ground: Ground) {
    let Servers::Cluster(cluster) = &ground.servers else { panic!("a cluster") };
    let name = (0..).map(|n| format!("lobby/{n}")).find(|name| LogKey::of(&room(name)).first() == 0);
    let sheet = Sheet::new(&name.expect("one of them"));
    let nodes = ground.nodes(2).await;
    nodes[0].open(&sheet).await;
    nodes[0].say(&sheet, "before").await;
    cluster.move_slots(0, 2, PARTITION).await.expect("the slots can be moved");
    // It has asked for nothing yet, and does not know.
    nodes[1].open(&sheet).await;
    nodes[0].say(&sheet, "after").await;
    assert_eq!(agree(&nodes, &sheet).await.len(), 2);
}
