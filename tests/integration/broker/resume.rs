//! Whoever comes back gets what came after, or is told why that cannot be.

use rallypoint::broker::Unread;
use rallypoint_protocol::{Position, event::Millis, position::Tag, server::ResetReason};

use super::ground::{Ground, Node, Servers, Sheet, agree};

fn reset<T>(reason: ResetReason) -> Result<T, Unread> {
    Err(Unread::Reset(reason))
}

/// Whatever was published is gone, as if it had never been.
async fn forget(ground: &Ground, node: &Node) {
    match &ground.servers {
        Servers::None => node.broker.sweep(Millis(1e15)),
        _ => ground.everywhere("FLUSHALL").await,
    }
}

pub(super) async fn a_log_is_read_from_whatever_is_kept_of_it(ground: Ground) {
    let (nodes, sheet) = (ground.nodes(2).await, Sheet::short("lobby", 4));
    let (node, other) = (&nodes[0], &nodes[nodes.len() - 1]);
    let start = node.open(&sheet).await.history.head();
    assert_eq!((start.seq, other.read(&sheet, start).await), (0, Ok(vec![])));
    let mut positions = vec![start];
    for n in 1..=3 {
        positions.push(node.say(&sheet, &n.to_string()).await.position);
    }
    assert_eq!(other.read(&sheet, start).await, Ok(vec![1, 2, 3]));
    for n in 4..=10 {
        positions.push(other.say(&sheet, &n.to_string()).await.position);
    }
    for (seq, &position) in positions.iter().enumerate() {
        let kept = if seq < 6 { reset(ResetReason::Trimmed) } else { Ok((seq as u64 + 1..=10).collect()) };
        assert_eq!(other.read(&sheet, position).await, kept, "{seq}");
    }
    let ends = other.broker.ends(sheet.log()).await.unwrap();
    assert_eq!((ends.edge, ends.head), (positions[6], positions[10]));
    for limit in 0..=5 {
        let page = other.broker.read(sheet.log(), ends.edge, limit).await.unwrap();
        assert!(page.iter().map(|event| event.position).eq(positions[7..].iter().copied().take(limit)), "{limit}");
    }
    let head = ends.head;
    assert_eq!(other.read(&sheet, Position { seq: 11, ..head }).await, reset(ResetReason::Ahead));
    assert_eq!(other.read(&sheet, Position { seq: 99, ..head }).await, reset(ResetReason::Ahead));
    assert_eq!(other.read(&sheet, Position { epoch: head.epoch ^ 1, ..head }).await, reset(ResetReason::Epoch));
    for seq in [6, 8, 10] {
        let forked = Position { tag: Tag(positions[seq].tag.0 ^ 1), ..positions[seq] };
        assert_eq!(other.read(&sheet, forked).await, reset(ResetReason::Forked), "{seq}");
    }
}

pub(super) async fn who_stood_where_no_log_was_reads_what_comes_first(ground: Ground) {
    let nodes = ground.nodes(2).await;
    let (node, other) = (&nodes[0], &nodes[nodes.len() - 1]);
    for name in ["lobby", "user/ada"] {
        let sheet = Sheet::new(name);
        let starts = [node.head(&sheet).await, other.head(&sheet).await];
        for start in starts {
            assert_eq!((start.seq, start.tag), (0, Tag(0)));
            assert_eq!(node.read(&sheet, start).await, Ok(vec![]), "{name}");
        }
        for n in 1..=3 {
            node.say(&sheet, &n.to_string()).await;
        }
        for start in starts {
            assert_eq!(other.read(&sheet, start).await, Ok(vec![1, 2, 3]), "{name}");
            assert_eq!(other.broker.read(sheet.log(), start, 1).await.map(|page| page.len()), Ok(1), "{name}");
        }
    }
}

pub(super) async fn who_stood_before_events_that_are_gone_is_told(ground: Ground) {
    let nodes = ground.nodes(2).await;
    let (node, other) = (&nodes[0], &nodes[nodes.len() - 1]);
    for name in ["lobby", "user/ada"] {
        let sheet = Sheet::new(name);
        let start = node.head(&sheet).await;
        let first = node.say(&sheet, "1").await.position;
        assert_eq!(other.read(&sheet, start).await, Ok(vec![1]), "{name}");
        forget(&ground, node).await;
        for lost in [start, first] {
            assert_eq!(other.read(&sheet, lost).await, reset(ResetReason::Epoch), "{name}");
        }
        let anew = other.head(&sheet).await;
        assert!(anew.seq == 0 && anew.epoch != first.epoch, "{name}");
        assert_eq!(other.read(&sheet, start).await, reset(ResetReason::Epoch), "{name}");
        assert_eq!(node.say(&sheet, "another 1").await.position.seq, 1);
        for lost in [start, first] {
            assert_eq!(other.read(&sheet, lost).await, reset(ResetReason::Epoch), "{name}");
        }
        assert_eq!(other.read(&sheet, anew).await, Ok(vec![1]), "{name}");
    }
}

pub(super) async fn a_users_log_is_told_from_where_it_was_looked_at(ground: Ground) {
    let (nodes, sheet) = (ground.nodes(3).await, Sheet::new("user/ada"));
    for node in &nodes {
        assert_eq!(node.follow(&sheet).await.seq, 0);
    }
    // From where no log was yet.
    for n in 0..30 {
        nodes[n % nodes.len()].say(&sheet, &n.to_string()).await;
    }
    assert_eq!(agree(&nodes, &sheet).await.len(), 30);
    for node in &nodes {
        node.guest.look(&sheet.name, |room| assert_eq!((room.told, room.restarts.len()), (30, 0)));
    }
    // From somewhere in it.
    let node = &nodes[0];
    node.guest.leave(&sheet.name);
    node.broker.unfollow(&sheet.name);
    nodes[nodes.len() - 1].say(&sheet, "not followed").await;
    assert_eq!(node.follow(&sheet).await.seq, 31);
    node.say(&sheet, "followed").await;
    node.guest.hears("the next event", &sheet.name, |room| room.told == 1).await;
    assert_eq!(node.guest.head(&sheet.name), Some(node.head(&sheet).await));
}
