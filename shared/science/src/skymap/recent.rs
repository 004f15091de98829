//! Recently decoded maps: the functions that a process calls for one alert decode its map once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use shared::Result;

use super::MultiOrderMap;

/// Number of maps kept: as many as notices are processed at once.
const MAX_MAPS: usize = 4;
/// Limits on a map that is kept; larger ones are decoded each time. Real maps have some 20,000 cells.
const MAX_KEPT_CELLS: usize = 60_000;
const MAX_KEPT_BYTES: usize = 4 << 20;

/// The maps with their bytes, the latest first.
static RECENT: Mutex<VecDeque<(Bytes, Arc<MultiOrderMap>)>> = Mutex::new(VecDeque::new());

/// A poisoned lock holds maps that are whole.
fn recent() -> MutexGuard<'static, VecDeque<(Bytes, Arc<MultiOrderMap>)>> {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// [`MultiOrderMap::decode`], or the map that the same bytes gave shortly before.
///
/// # Errors
/// As [`MultiOrderMap::decode`].
pub fn decode_once(bytes: &Bytes) -> Result<Arc<MultiOrderMap>> {
    let known = recent().iter().find(|(known, _)| known == bytes).map(|(_, map)| Arc::clone(map));
    if let Some(map) = known {
        return Ok(map);
    }
    let map = Arc::new(MultiOrderMap::decode(bytes)?);
    if bytes.len() <= MAX_KEPT_BYTES && map.cells().len() <= MAX_KEPT_CELLS {
        let mut recent = recent();
        recent.push_front((bytes.clone(), Arc::clone(&map)));
        recent.truncate(MAX_MAPS);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::super::tests::sampled;
    use super::super::{Cell, MapHeader, encode, n_cells};
    use super::*;

    fn encoded(tilt: f64) -> Bytes {
        encode(&sampled(2, |lon, _| 1.0 + tilt * lon.sin())).expect("FITS").into()
    }

    #[test]
    fn equal_bytes_give_the_same_map_and_others_their_own() {
        let (one, other) = (encoded(0.123), encoded(0.321));
        let map = decode_once(&one).expect("a map");
        // Other bytes at another place in memory.
        assert!(Arc::ptr_eq(&map, &decode_once(&Bytes::copy_from_slice(&one)).expect("a map")));
        assert_ne!(decode_once(&other).expect("a map").cells(), map.cells());
        assert!(decode_once(&one.slice(..one.len() / 2)).is_err());
        // The limit holds, whatever other tests decode at once.
        for i in 0..2 * MAX_MAPS {
            decode_once(&encoded(0.01 * i as f64)).expect("a map");
        }
        assert!(recent().len() <= MAX_MAPS && !Arc::ptr_eq(&map, &decode_once(&one).expect("a map")));
    }

    #[test]
    fn large_maps_are_not_kept() {
        let cell = |ipix| Cell { order: 7, ipix, prob_density: 0.25 / std::f64::consts::PI };
        let map = MultiOrderMap::from_cells((0..n_cells(7)).map(cell).collect(), None, MapHeader::default());
        let bytes = Bytes::from(encode(&map.expect("a map")).expect("FITS"));
        let map = decode_once(&bytes).expect("a map");
        assert!(!Arc::ptr_eq(&map, &decode_once(&bytes).expect("a map")));
    }
}
