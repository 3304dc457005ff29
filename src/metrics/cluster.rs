//! How this node stands in its cluster, read at each scrape. A node that is alone
//! shows none of it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};

/// How a node stands in its cluster at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterSample {
    /// How long its session lasts if it is not renewed; zero where it has none.
    pub session_left: Duration,
    /// How far the clock that differs most from its own does; `None` if no other
    /// node's is known.
    pub clock_offset: Option<Duration>,
    /// Other nodes that answer.
    pub answering: u32,
    /// Other nodes that do not.
    pub silent: u32,
}

/// Where samples come from; `None`: the process that took them has ended.
pub type Source = Box<dyn Fn() -> Option<ClusterSample> + Send + Sync>;

/// The gauges of a node in a cluster.
#[derive(Clone, Default)]
pub(super) struct ClusterGauges {
    source: Arc<OnceLock<Source>>,
}

impl ClusterGauges {
    /// From now on this is shown; the first source stays.
    pub fn show(&self, source: Source) {
        if self.source.set(source).is_err() {
            debug_assert!(false, "a process is one node");
        }
    }
}

impl Collector for ClusterGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(sample) = self.source.get().and_then(|source| source()) else { return Ok(()) };
        let seconds = Some(&Unit::Seconds);
        let help = "How long this node's session lasts if it is not renewed: without one nothing is \
                    granted";
        let gauge = encoder.encode_descriptor("session_left", help, seconds, MetricType::Gauge)?;
        ConstGauge::new(sample.session_left.as_secs_f64()).encode(gauge)?;
        if let Some(offset) = sample.clock_offset {
            let help = "How far the clock of another node is from this one's, of those that answer \
                        the one that differs most";
            let gauge =
                encoder.encode_descriptor("clock_offset", help, seconds, MetricType::Gauge)?;
            ConstGauge::new(offset.as_secs_f64()).encode(gauge)?;
        }
        let help = "Other nodes of the cluster, by whether they answer";
        let mut peers = encoder.encode_descriptor("peers", help, None, MetricType::Gauge)?;
        for (state, nodes) in [("answering", sample.answering), ("silent", sample.silent)] {
            let nodes = ConstGauge::new(i64::from(nodes));
            nodes.encode(peers.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ClusterGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterGauges").field("shows", &self.source.get().is_some()).finish()
    }
}
