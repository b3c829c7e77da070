//! The removal of dead letters after an export.

use std::io;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::json;

use crate::{Desk, Letter};

/// The number of letters that are exported and removed at once.
const BATCH: usize = 100;

/// What a removal has done.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// The number of letters that are removed.
    pub dropped: usize,
    /// The number of letters that are still there.
    pub left: usize,
    /// Why it ended early.
    pub stop: Option<String>,
}

/// Exports letters that the desk holds as lines of JSON, and removes them. `export` must return only after the lines are
/// on the disk. A process that dies leaves letters that are exported and still there.
pub async fn drop_letters(
    desk: &mut Desk,
    letters: &[Letter],
    mut export: impl FnMut(&str) -> io::Result<()>,
) -> Removal {
    let mut by_holder: Vec<&Letter> = letters.iter().collect();
    by_holder.sort_by(|a, b| a.holder.cmp(&b.holder));
    let mut removal = Removal::default();
    for of_one in by_holder.chunk_by(|a, b| a.holder == b.holder).flat_map(|letters| letters.chunks(BATCH)) {
        if desk.is_stopped() {
            removal.stop = Some("the command was told to stop".to_owned());
            break;
        }
        desk.tend().await;
        let lines: String = of_one.iter().map(|letter| line(letter)).collect();
        let stop = match export(&lines) {
            Ok(()) => desk.remove(of_one).await.map_err(|error| error.to_string()),
            Err(error) => Err(format!("cannot export: {error}")),
        };
        match stop {
            Ok(()) => removal.dropped += of_one.len(),
            Err(stop) => {
                removal.stop = Some(stop);
                break;
            }
        }
    }
    removal.left = letters.len() - removal.dropped;
    removal
}

/// The letter with everything that a later publication needs.
fn line(letter: &Letter) -> String {
    let fields = json!({
        "holder": letter.holder,
        "id": letter.id,
        "parkedAt": letter.parked_at,
        "attributes": letter.attributes,
        "data": STANDARD.encode(&letter.data),
    });
    format!("{fields}\n")
}
