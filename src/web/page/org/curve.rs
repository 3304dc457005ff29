//! The curve of the org's total over the last day, for the script.

use serde_json::json;

use crate::{
    proto::v1::{HistoryPoint, LimitUsage},
    web::page::words,
};

/// The data to draw; `None` while there is none.
pub fn island(history: &[HistoryPoint], total: Option<&LimitUsage>) -> Option<String> {
    if history.len() < 2 {
        return None;
    }
    let time = |point: &HistoryPoint| point.time.map_or(0, |time| time.seconds);
    let all = |point: &HistoryPoint| point.own.saturating_add(point.foreign);
    let mut lines = Vec::new();
    let max = total.map_or(0, |total| total.max);
    if let Some(total) = total.filter(|total| total.max > 0) {
        lines.push(json!({"at": max, "text": format!("limit {}", words::count(max))}));
        if total.reserved > 0 {
            let stop = max.saturating_sub(total.reserved);
            let text = format!("all but app settings stops at {}", words::count(stop));
            lines.push(json!({"at": stop, "text": text, "below": true}));
        }
    }
    let data = json!({
        "x": history.iter().map(time).collect::<Vec<_>>(),
        "series": [
            {"name": "In all", "colour": "--others", "values": history.iter().map(all).collect::<Vec<_>>()},
            {
                "name": "Through quotagate",
                "colour": "--ours",
                "values": history.iter().map(|point| point.own).collect::<Vec<_>>(),
            },
        ],
        "lines": lines,
        "max": max,
    });
    Some(words::island(&data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_has_both_uses_and_the_thresholds() {
        assert_eq!(island(&[], None), None);
        assert_eq!(island(&[HistoryPoint::default()], None), None, "a point is no curve");
        let point = |seconds, own, foreign| HistoryPoint {
            time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            own,
            foreign,
            limit: 15_000,
        };
        let total = LimitUsage { max: 15_000, reserved: 750, ..LimitUsage::default() };
        let text = island(&[point(0, 1, 2), point(300, 2_918, 3_072)], Some(&total));
        let data: serde_json::Value =
            serde_json::from_str(&text.expect("a curve")).expect("it is JSON");
        assert_eq!(data["x"], json!([0, 300]));
        assert_eq!(data["series"][0]["values"], json!([3, 5_990]));
        assert_eq!(data["series"][1]["values"], json!([1, 2_918]));
        assert_eq!(data["lines"][0]["text"], "limit 15,000");
        assert_eq!(data["lines"][1]["at"], 14_250);
    }
}
