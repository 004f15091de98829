//! The science: FITS, sky maps, galaxies and spacecraft coverage. No I/O, no clock, no environment: bytes and times in,
//! values out.
//!
//! | module | from | to |
//! |---|---|---|
//! | [`fits`], [`gzip`] | bytes | tables with checked sizes |
//! | [`skymap`] | a multi-order map | areas, contours, regions as MOC, flat maps, distances and volumes, where positions lie |
//! | [`galaxy`] | a map and a catalogue | ranked host galaxies |
//! | [`alert`] | a notice | its alerts, with what their maps say |
//! | [`visibility`] | an orbit or a pointing, and a time | the part of the sky that Fermi or Swift saw |
//!
//! # Areas, contours and regions of a map
//!
//! The map is a Gaussian of σ = 3° around (RA, Dec) = (150°, 20°). On a plane its credible region of level p covers
//! −2πσ² ln(1 − p).
//!
//! ```
//! use std::f64::consts::PI;
//!
//! use science::skymap::{Cell, Distance, MapHeader, MultiOrderMap, Region, contour, encode, n_cells};
//!
//! let (order, sigma) = (6, 3_f64.to_radians());
//! let (ra, dec) = (150_f64.to_radians(), 20_f64.to_radians());
//! let cells: Vec<Cell> = (0..n_cells(order))
//!     .map(|ipix| {
//!         let (lon, lat) = Cell { order, ipix, prob_density: 0.0 }.centre();
//!         let cos = lat.sin() * dec.sin() + lat.cos() * dec.cos() * (lon - ra).cos();
//!         let distance = cos.clamp(-1.0, 1.0).acos() / sigma;
//!         Cell { order, ipix, prob_density: (-distance * distance / 2.0).exp() / (2.0 * PI * sigma * sigma) }
//!     })
//!     .collect();
//! let distances = vec![Distance { mu: 100.0, sigma: 20.0, norm: 9.6e-5 }; cells.len()];
//! let map = MultiOrderMap::from_cells(cells, Some(distances), MapHeader::default())?;
//!
//! let summary = map.summary();
//! assert!((summary.ra - 150.0).abs() < 1.0 && (summary.dec - 20.0).abs() < 1.0);
//! let plane = |level: f64| -2.0 * PI * 3.0 * 3.0 * (1.0 - level).ln(); // [deg²]
//! assert!((map.credible().area_interpolated(0.5) / plane(0.5) - 1.0).abs() < 0.02);
//! assert!((map.credible().area_interpolated(0.9) / plane(0.9) - 1.0).abs() < 0.02);
//!
//! // One closed ring at each level, as GeoJSON; the region inside as a MOC.
//! let contours = contour::contours(&map, &[50, 90])?;
//! assert_eq!(contours.iter().map(|contour| contour.rings.len()).collect::<Vec<_>>(), [1, 1]);
//! let region = Region::from_json(&map.credible().moc_json(0.9)?)?;
//! assert!((region.area_deg2() / plane(0.9) - 1.0).abs() < 0.02);
//!
//! // Upstream sends a FITS file of cells; it decodes to the same map.
//! let decoded = MultiOrderMap::decode(&encode(&map)?)?;
//! assert_eq!(decoded.cells(), map.cells());
//! # Ok::<(), shared::Error>(())
//! ```
//!
//! # Host galaxies
//!
//! ```
//! use science::galaxy::{Catalogue, rank};
//! # use science::skymap::{Cell, Distance, MapHeader, MultiOrderMap, n_cells};
//!
//! # let cells: Vec<Cell> = (0..n_cells(2))
//! #     .map(|ipix| Cell { order: 2, ipix, prob_density: 1.0 / (4.0 * std::f64::consts::PI) })
//! #     .collect();
//! # let distances = vec![Distance { mu: 100.0, sigma: 20.0, norm: 9.6e-5 }; cells.len()];
//! // A map of the whole sky with equal density, and a distance of 100 ± 20 Mpc.
//! let map = MultiOrderMap::from_cells(cells, Some(distances), MapHeader::default())?;
//! let catalogue = Catalogue::read(b"objname,ra,dec,DistMpc,Mstar\nnear,10,10,100,1e10\nfar,10,10,900,1e11\n")?;
//! let ranking = rank(&map, &catalogue, &Default::default());
//! assert_eq!(ranking.entries.iter().map(|galaxy| galaxy.name.as_str()).collect::<Vec<_>>(), ["near"]);
//! # Ok::<(), shared::Error>(())
//! ```
//!
//! # What a spacecraft saw
//!
//! ```
//! use science::visibility::{fermi, orbit};
//!
//! let time = "2026-11-01T12:00:00Z".parse().expect("a time");
//! let tle = orbit::Tle::parse_all(orbit::sample_tle(time).as_bytes())?.remove(0);
//! // The Gamma-ray Burst Monitor sees the whole sky except the Earth, which covers a third of it from 535 km.
//! let seen = fermi::gbm(&tle, time, 14.0)?;
//! assert!((0.66..0.70).contains(&(seen.area() / 41_252.96)));
//! # Ok::<(), shared::Error>(())
//! ```

pub mod alert;
pub mod fits;
pub mod galaxy;
pub mod gzip;
pub mod skymap;
pub mod visibility;
