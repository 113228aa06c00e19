//! The events of a service. Without a window, only the last hour is shown.
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Scene, moment, newest_first, page};
use crate::ids::digest;
use crate::render::state::Event;
use crate::wire::Routed;

pub fn list(scene: &Scene, id: &str) -> Routed {
    let call = scene.call;
    let kinds = call.query_all("type");
    let hour_ago = call.now.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(call.now);
    let start = moment(call, "startTime")?.unwrap_or(hour_ago);
    let end = moment(call, "endTime")?;
    let shown = scene.service(id)?.events.iter().filter(|event| {
        (kinds.is_empty() || kinds.contains(&event.kind))
            && event.at >= start
            && end.is_none_or(|end| event.at <= end)
            && call.twist.hide_after.is_none_or(|moment| event.at <= moment)
    });
    page(scene, "event", shown.map(|event| (newest_first(event.number), view(id, event))).collect())
}

fn view(service: &str, event: &Event) -> Value {
    json!({
        "id": format!("evt-{}", &digest(&format!("{service}/{}", event.number))[..20]),
        "timestamp": event.at, "serviceId": service, "type": event.kind, "details": event.details,
    })
}
