#!/usr/bin/env python3
"""Golden values for shared/science/src/visibility/site: what can be seen of bundled sky maps from sites, by astropy.

    pip install astropy
    python sites.py ../../events/notices > sites.json

Nothing is downloaded: Earth orientation is astropy's built-in IERS-B table, and the Moon and the Sun are ERFA's. Altitudes
are without refraction. The whole map is stepped through minute by minute; the first and last times and the ends of darkness
are then refined to a second. `observable_prob` is given for limits of altitude that are 0.1° stricter and 0.1° looser, and
`best_hour` as the range of starts whose hour has 1e-3 less than the best, or more.
"""
import base64
import gzip
import io
import json
import pathlib
import sys

import astropy
import astropy.units as u
import numpy as np
from astropy.coordinates import AltAz, EarthLocation, SkyCoord, get_body, get_sun
from astropy.table import Table
from astropy.time import Time
from astropy.utils import iers
from astropy_healpix import HEALPix

iers.conf.auto_download = False
iers.conf.auto_max_age = None
iers.conf.iers_degraded_accuracy = "warn"

NOTICES = pathlib.Path(sys.argv[1])
TOLERANCE = 0.1  # deg
# Name, latitude, longitude [deg], height [m], Sun below, altitude above [deg], hours, start, notice.
CASES = [
    ("Cerro Pachón", -30.2446, -70.7494, 2663, -12, 30, 24, "2023-05-18T13:10:05", "S090101a-4-initial.json"),
    ("Siding Spring", -31.2733, 149.0617, 1165, -18, 20, 24, "2025-11-12T15:20:00", "S090110j-1-preliminary-all-sky.json"),
    ("Palomar", 33.3563, -116.865, 1712, -18, 30, 24, "2026-11-28T03:00:30", "S090102b-1-preliminary-across-ra-0.json"),
    ("Maunakea, three nights", 19.8207, 204.532, 4205, -12, 40, 72, "2024-02-10T09:00:00", "S090110j-1-preliminary-all-sky.json"),
    ("Paranal, half an hour", -24.6272, -70.4039, 2635, -12, 30, 0.5, "2024-08-01T03:00:00", "S090110j-1-preliminary-all-sky.json"),
    ("Longyearbyen in midnight sun", 78.2232, 15.6267, 20, -12, 30, 24, "2024-06-20T12:00:00", "S090111k-1-preliminary-pole.json"),
    ("Longyearbyen, Sun just above the limit at noon", 78.2232, 15.6267, 20, -12, 30, 24, "2024-12-21T22:00:00", "S090111k-1-preliminary-pole.json"),
    ("South Pole in polar night", -89.99, 0.0, 2835, -12, 30, 24, "2024-07-01T00:00:00", "S090110j-1-preliminary-all-sky.json"),
    ("Dome C in midnight sun", -75.1, 123.35, 3233, -12, 20, 48, "2023-12-21T06:00:00", "S090110j-1-preliminary-all-sky.json"),
]


def sky_map(notice):
    bytes_ = base64.b64decode(json.load(open(NOTICES / notice))["event"]["skymap"])
    table = Table.read(io.BytesIO(gzip.decompress(bytes_) if bytes_[:2] == b"\x1f\x8b" else bytes_), format="fits")
    uniq = np.asarray(table["UNIQ"], dtype=np.uint64)
    order = (np.log2(uniq.astype(float) / 4) // 2).astype(int)
    ipix = (uniq - 4 * np.uint64(4) ** order.astype(np.uint64)).astype(np.int64)
    density = np.asarray(table["PROBDENSITY"])
    prob = density * 4 * np.pi / (12 * 4.0**order)
    ra, dec = np.empty(len(uniq)), np.empty(len(uniq))
    for k in np.unique(order):
        lon, lat = HEALPix(2 ** int(k), order="nested").healpix_to_lonlat(ipix[order == k])
        ra[order == k], dec[order == k] = lon.to_value(u.deg), lat.to_value(u.deg)
    falling = np.argsort(-density, kind="stable")
    before = np.empty(len(uniq))
    before[falling] = np.concatenate([[0], np.cumsum(prob[falling])[:-1]])
    return SkyCoord(ra * u.deg, dec * u.deg), prob, before < 0.9, int(np.argmax(density))


def altitudes(coordinates, site, start, seconds):
    """Altitudes [deg] at times after the start, a row a time."""
    times = start + np.asarray(seconds) * u.s
    frame = AltAz(obstime=times[:, np.newaxis], location=site)
    return coordinates[np.newaxis, :].transform_to(frame).alt.to_value(u.deg)


def suns(site, start, seconds):
    times = start + np.asarray(seconds, dtype=float) * u.s
    return get_sun(times).transform_to(AltAz(obstime=times, location=site)).alt.to_value(u.deg)


def dark_times(site, start, hours, below):
    """Intervals [s] with the Sun below a limit, to a second."""
    grid = np.arange(0, hours * 3600 + 1, 60.0)
    dark = suns(site, start, grid) < below
    ends = []
    for i in np.flatnonzero(dark[1:] != dark[:-1]):
        fine = np.arange(grid[i], grid[i + 1] + 0.5)
        ends.append(float(fine[np.flatnonzero((suns(site, start, fine) < below) == dark[i + 1])[0]]))
    edges = ([0.0] if dark[0] else []) + ends + ([hours * 3600.0] if dark[-1] else [])
    return list(zip(edges[::2], edges[1::2]))


def moment(start, seconds):
    return (start + seconds * u.s).isot + "Z"


def case(name, lat, lon, height, below, above, hours, text, notice):
    site = EarthLocation.from_geodetic(lon * u.deg, lat * u.deg, height * u.m)
    start = Time(text, scale="utc")
    coordinates, prob, in_90, peak = sky_map(notice)
    grid = np.arange(0, hours * 3600 + 1, 60.0)
    high = np.concatenate([altitudes(coordinates, site, start, part) for part in np.array_split(grid, max(1, len(grid) // 200))])
    sun = suns(site, start, grid)
    seen = (sun < below)[:, np.newaxis] & (high > above)
    stricter = (sun < below - TOLERANCE)[:, np.newaxis] & (high > above + TOLERANCE)
    looser = (sun < below + TOLERANCE)[:, np.newaxis] & (high > above - TOLERANCE)
    at_90 = np.flatnonzero((seen & in_90).any(axis=1))
    first = last = None
    if len(at_90):
        def refined(at, step):
            if at + step < 0 or at + step >= len(grid):
                return float(grid[at])
            fine = grid[at] + step * np.arange(0, 60.5)
            cells = np.flatnonzero(in_90 & (seen[at] | seen[max(at - 1, 0)] | seen[min(at + 1, len(grid) - 1)]))
            ok = (suns(site, start, fine) < below) & (altitudes(coordinates[cells], site, start, fine) > above).any(axis=1)
            return float(fine[np.flatnonzero(ok)[-1]])
        first, last = refined(at_90[0], -1), refined(at_90[-1], 1)
    now = (seen * prob).sum(axis=1)
    minutes = min(60, len(grid) - 1)
    area = np.concatenate([[0], np.cumsum((now[1:] + now[:-1]) / 2)])
    means = (area[minutes:] - area[:-minutes]) / minutes
    best = np.flatnonzero(means >= means.max() - 1e-3)
    moon_at = start + (grid[int(np.argmax(means))] if means.max() > 0 else 0) * u.s
    moon = get_body("moon", moon_at, site)
    star = coordinates[peak]
    separation = star.transform_to(AltAz(obstime=moon_at, location=site)).separation(moon.transform_to(AltAz(obstime=moon_at, location=site)))
    sun_at, geocentric = get_sun(moon_at), get_body("moon", moon_at)
    elongation = sun_at.separation(geocentric)
    phase = np.arctan2(sun_at.distance * np.sin(elongation), geocentric.distance - sun_at.distance * np.cos(elongation))
    some = list(range(0, len(prob), max(1, len(prob) // 12)))
    at = [0, len(grid) // 3, len(grid) - 1]
    return {
        "site": {"name": name, "lat_deg": lat, "lon_deg": lon, "height_m": height, "sun_below_deg": below, "altitude_above_deg": above, "hours": hours},
        "notice": notice,
        "from": text + "Z",
        "altitudes_deg": [
            [float(coordinates[i].ra.deg), float(coordinates[i].dec.deg), moment(start, grid[k]), float(high[k, i])] for k in at for i in some
        ],
        "sun_altitudes_deg": [[moment(start, grid[k]), float(sun[k])] for k in range(0, len(grid), max(1, len(grid) // 16))],
        "dark": [[moment(start, s) for s in pair] for pair in dark_times(site, start, hours, below)],
        "observable_prob": [float(prob[some.any(axis=0)].sum()) for some in (stricter, looser)],
        "first": None if first is None else moment(start, first),
        "last": None if last is None else moment(start, last),
        "best_hour": None if means.max() == 0 else {"starts": [moment(start, grid[best[i]]) for i in (0, -1)], "prob": float(means.max())},
        "moon": {"time": moon_at.isot + "Z", "peak_separation_deg": float(separation.deg), "illuminated": float((1 + np.cos(phase)) / 2)},
    }


print(json.dumps({"note": f"made by sites.py with astropy {astropy.__version__}", "cases": [case(*one) for one in CASES]}, indent=1, ensure_ascii=False))
