//! One fault after another, each as a test of its own.

use std::time::Duration;

use tokio::{
    task::block_in_place,
    time::{Instant, sleep},
};

use crate::{
    audit::Held,
    load::Seen,
    proxy::{Conduct, Slowness},
    world::{Demand, MEMBERS, NODES, Told, World, orgs, rounds, say},
};

/// What happens to a cluster, and is over when it has struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of a node that owns orgs under load. It is started again later.
    Kill,
    /// SIGSTOP of such a node for longer than its lease, then SIGCONT: it wakes
    /// and believes to own what it does not.
    Pause,
    /// kill -9 of the member of etcd that leads. It is started again later.
    EtcdLeader,
    /// Two of three members of etcd stand still for longer than the lease.
    QuorumPaused,
    /// Two of three members of etcd are killed, and come back later than that.
    QuorumKilled,
    /// A member of etcd takes what nodes send, and answers nothing.
    BlackholedMember,
    /// A node does not reach etcd for longer than its lease, but its callers.
    Isolation,
    /// A node's links to etcd and from the other nodes are slow and lose packets.
    SlowLink,
    /// A node's wall clock is wrong, within what is allowed; then a node dies, so
    /// that records are read by another clock than wrote them.
    ClockStep,
    /// Every node ends in order and is started again, one after the other.
    Roll,
}

/// Every fault.
pub const ALL: [Fault; 10] = [
    Fault::Kill,
    Fault::Pause,
    Fault::EtcdLeader,
    Fault::QuorumPaused,
    Fault::QuorumKilled,
    Fault::BlackholedMember,
    Fault::Isolation,
    Fault::SlowLink,
    Fault::ClockStep,
    Fault::Roll,
];

/// A clock may be wrong by ε = 2 s; a node that differs by more than 0.8 ε from
/// the others drains itself.
const WRONG_BY_MS: i64 = 1_500;

/// A clock with which no node may go on.
const FAR_WRONG_BY_MS: i64 = 10_000;

/// A bad link, each way.
const BAD: Slowness = Slowness {
    delay: Duration::from_millis(40),
    jitter: Duration::from_millis(60),
    loss_percent: 5,
};

/// The deadline of probes while etcd is away: the service may wait 2 s for it.
const DEADLINE: Duration = Duration::from_secs(4);

impl Fault {
    /// Strikes, mends, and waits until somebody decides for every org again.
    pub async fn strikes(self, world: &mut World) {
        // Longer than a lease can last, however it was renewed.
        let beyond_lease = world.lease * 3 / 2 + Duration::from_secs(1);
        let every_org: Vec<_> = orgs().collect();
        match self {
            Self::Kill => {
                let (victim, orphans) = world.an_owner().await;
                let since = Instant::now();
                world.kill(victim).await;
                world.recovers("kill -9", &orphans, since).await;
                world.start_again(victim).await;
            }
            Self::Pause => {
                let (victim, orphans) = world.an_owner().await;
                let since = Instant::now();
                world.node_mut(victim).pause();
                world.recovers("SIGSTOP", &orphans, since).await;
                sleep((since + beyond_lease).saturating_duration_since(Instant::now())).await;
                world.node_mut(victim).resume();
                world.settles().await;
                world.answered(&every_org, Instant::now()).await;
            }
            Self::EtcdLeader => {
                let leader = leader(world).await;
                block_in_place(|| world.etcd.kill9(leader));
                let told = world.probed_for(beyond_lease, DEADLINE).await;
                say(&format!("  etcd's leader dead for {beyond_lease:.1?}: {told}"));
                block_in_place(|| world.etcd.restart(leader));
            }
            Self::QuorumPaused => {
                let stopped = two_members(world);
                let stays = (0..MEMBERS).find(|member| !stopped.contains(member));
                for member in stopped {
                    world.etcd.pause(member);
                }
                let told = world.probed_for(beyond_lease, DEADLINE).await;
                answers_in_time("two members of etcd paused", &told);
                let since = Instant::now();
                for member in stopped {
                    world.etcd.resume(member);
                }
                // The member that stayed has asked for votes meanwhile. When it takes part
                // again the election is over that it forces the others to.
                block_in_place(|| world.etcd.is_served_by(stays.expect("one was not paused")));
                world.took("the paused members' resumption, by etcd itself", since.elapsed());
                let since = Instant::now();
                world.recovers("the return of paused members", &every_org, since).await;
            }
            Self::QuorumKilled => {
                let stopped = two_members(world);
                for member in stopped {
                    block_in_place(|| world.etcd.kill9(member));
                }
                let told = world.probed_for(beyond_lease, DEADLINE).await;
                answers_in_time("two members of etcd killed", &told);
                for member in stopped {
                    world.etcd.start_again(member);
                }
                block_in_place(|| world.etcd.is_served_by(stopped[0]));
                let since = Instant::now();
                world.recovers("the return of killed members", &every_org, since).await;
                block_in_place(|| world.etcd.is_served_by(stopped[1]));
            }
            Self::BlackholedMember => {
                let member = world.random.usize(0..MEMBERS);
                world.links_to_member(member, Conduct::Blackhole);
                let told = world.probed_for(beyond_lease, DEADLINE).await;
                say(&format!("  one member of etcd mute for {beyond_lease:.1?}: {told}"));
                world.goes_on().await;
                world.links_to_member(member, Conduct::Pass);
            }
            Self::Isolation => {
                let (victim, _) = world.an_owner().await;
                let how = [Conduct::Blackhole, Conduct::Cut][world.random.usize(0..2)];
                world.links_of(victim, how);
                let told = world.probed_for(beyond_lease, DEADLINE).await;
                say(&format!("  a node without etcd for {beyond_lease:.1?}: {told}"));
                world.links_of(victim, Conduct::Pass);
                world.settles().await;
            }
            Self::SlowLink => {
                let (victim, _) = world.an_owner().await;
                world.links_of(victim, Conduct::Slow(BAD));
                world.peer_links[victim].conducts(Conduct::Slow(BAD));
                let told = world.probed_for(beyond_lease, DEADLINE).await;
                say(&format!("  slow and lossy links for {beyond_lease:.1?}: {told}"));
                world.goes_on().await;
                world.links_of(victim, Conduct::Pass);
                world.peer_links[victim].conducts(Conduct::Pass);
            }
            Self::ClockStep => {
                let wrong = world.random.usize(0..NODES);
                let offset_ms = if world.random.bool() { WRONG_BY_MS } else { -WRONG_BY_MS };
                world.sets_clock(wrong, offset_ms);
                world.goes_on().await;
                let (victim, orphans) = world.an_owner().await;
                let since = Instant::now();
                world.kill(victim).await;
                world.recovers("kill -9 beside a wrong clock", &orphans, since).await;
                world.start_again(victim).await;
                world.goes_on().await;
                world.sets_clock(wrong, 0);
            }
            Self::Roll => {
                for number in 0..NODES {
                    world.stop(number).await;
                    world.start_again(number).await;
                }
            }
        }
        world.settles().await;
    }
}

/// The member of etcd that leads.
async fn leader(world: &World) -> usize {
    loop {
        if let Some(leader) = block_in_place(|| world.etcd.leader()) {
            return leader;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn two_members(world: &mut World) -> [usize; 2] {
    let stays = world.random.usize(0..MEMBERS);
    [(stays + 1) % MEMBERS, (stays + 2) % MEMBERS]
}

/// While etcd is away nobody hangs: a permit from an open block, or UNAVAILABLE
/// with the time after which to try again.
fn answers_in_time(what: &str, told: &Told) {
    say(&format!("  {what}: {told}"));
    assert!(told.unavailable > 0, "{what}: nobody noticed: {told}");
    assert!(told.other.is_empty(), "{what}: {told}");
}

/// Lets a fault strike, again and again, callers wanting more than there is.
async fn check(name: &str, fault: Fault) {
    let rounds = rounds();
    // Used up after about two thirds of the rounds.
    let Some(mut world) = World::start(Demand::Saturating, 60 + 60 * rounds).await else { return };
    world.goes_on().await;
    for _ in 0..rounds {
        fault.strikes(&mut world).await;
        world.goes_on().await;
    }
    let (seen, held) = world.finish(&format!("{name}, {rounds} times")).await;
    assert!(fault != Fault::Roll || held.open == 0, "who ends in order leaves nothing open");
    assert!(seen.denied > 0, "callers wanted more than there is: {seen:#?}");
}

macro_rules! faults {
    ($($name:ident: $fault:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            check(&stringify!($name).replace('_', " "), Fault::$fault).await;
        }
    )*};
}

faults! {
    kill_dash_9_of_an_owner: Kill;
    sigstop_for_longer_than_the_lease: Pause;
    etcd_leader_killed: EtcdLeader;
    etcd_quorum_paused_for_longer_than_the_lease: QuorumPaused;
    etcd_quorum_killed_and_back: QuorumKilled;
    blackholed_member_of_etcd: BlackholedMember;
    isolated_node: Isolation;
    slow_and_lossy_link: SlowLink;
    clock_step_of_one_node: ClockStep;
    rolling_restart_at_saturation: Roll;
}

/// Callers who want less than there is, and repeat UNAVAILABLE once, see nothing
/// of a rolling restart, and it wastes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart_under_load_loses_nothing() {
    let rounds = rounds();
    let Some(mut world) = World::start(Demand::Roomy, 100).await else { return };
    for _ in 0..rounds {
        Fault::Roll.strikes(&mut world).await;
        world.goes_on().await;
    }
    let (seen, held) = world.finish(&format!("rolling restart, {rounds} times")).await;
    nothing_was_lost(&seen, held);
}

/// One node less, and one more again, as whoever scales a StatefulSet makes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scale_step_under_load_loses_nothing() {
    let Some(mut world) = World::start(Demand::Roomy, 100).await else { return };
    let (scaled, _) = world.an_owner().await;
    let name = world.node(scaled).plan.name.clone();
    world.stop(scaled).await;
    world.settles().await;
    world.goes_on().await;
    world.start_again(scaled).await;
    world.node((scaled + 1) % NODES).sees_taking_part(&name).await;
    world.goes_on().await;
    let (seen, held) = world.finish("a scale step").await;
    nothing_was_lost(&seen, held);
}

fn nothing_was_lost(seen: &Seen, held: Held) {
    assert_eq!(seen.lost, [""; 0], "requests that were not answered the second time either");
    assert_eq!(
        seen.repeated.get("ANSWER_LOST"),
        None,
        "who leaves tells all that ask it: {seen:?}"
    );
    assert_eq!(seen.denied, 0, "there was room");
    assert_eq!(held, Held::default(), "a hand-over wastes nothing");
}

/// A node whose clock is far from the others' gives its shards away, and takes
/// part again when the clock is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_wrong_clock_steps_aside() {
    let Some(mut world) = World::start(Demand::Roomy, 100).await else { return };
    let (wrong, _) = world.an_owner().await;
    world.sets_clock(wrong, FAR_WRONG_BY_MS);
    let others: Vec<_> = (0..NODES).filter(|number| *number != wrong).collect();
    let names: Vec<_> =
        others.iter().map(|number| world.node(*number).plan.name.as_str()).collect();
    for other in &others {
        world.node(*other).sees_every_shard_owned_by(&names).await;
    }
    world.goes_on().await;
    world.sets_clock(wrong, 0);
    world.node(others[0]).sees_taking_part(&world.node(wrong).plan.name).await;
    world.finish("a node with a wrong clock steps aside").await;
}
