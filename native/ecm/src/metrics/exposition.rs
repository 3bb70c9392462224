//! How families of numbers are written.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::labels::Label;
use super::times::Times;

/// The report as it is being written. The name of a counter gets its `_total` here, that of an info its `_info`.
pub(super) struct Exposition<'a>(pub(super) DescriptorEncoder<'a>);

impl Exposition<'_> {
    /// What the program is, as labels.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        self.head(name, help, MetricType::Info)?
            .encode_info(&labels)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        counter(&mut self.head(name, help, MetricType::Counter)?, value)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.head(name, help, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    /// A number for each value of a label, which only goes up until the program starts anew.
    pub(super) fn counters<L: Label>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.head(name, help, MetricType::Counter)?;
        for (label, value) in values {
            counter(&mut metric.encode_family(&[(L::KEY, label.name())])?, value)?;
        }
        Ok(())
    }

    /// A number for each value of a label, which is how things are now.
    pub(super) fn gauges<L: Label>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.head(name, help, MetricType::Gauge)?;
        for (label, value) in values {
            metric
                .encode_family(&[(L::KEY, label.name())])?
                .encode_gauge(&value)?;
        }
        Ok(())
    }

    pub(super) fn times(&mut self, name: &str, help: &str, times: &Times) -> fmt::Result {
        times
            .histogram()
            .encode(self.head(name, help, MetricType::Histogram)?)
    }

    pub(super) fn head<'a>(
        &'a mut self,
        name: &'a str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }
}

pub(super) fn counter(metric: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
}
