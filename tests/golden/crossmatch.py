#!/usr/bin/env python3
"""Golden values for tests/tests/it/golden.rs: where positions lie in the bundled sky maps, by ligo.skymap's crossmatch.

    pip install ligo.skymap
    python crossmatch.py ../../events/notices/*.json > crossmatch.json

The positions are centres of cells from the densest to beyond the 99 % region, and random directions. Their distances are
those of the lines of sight, at -2 to 2 standard deviations, moved to crossmatch's grid of distances, where its densities in
space are exact. Cells of equal density are left out, since their order is arbitrary, and volumes where the density in space
underflows.

crossmatch sums whole voxels: a cell times 1/1000 of six mean distances. So its searched_prob_vol and searched_vol have an
error of about the voxels that the surface of equal density cuts, some percent of the smallest volumes. The columns
converged_* are the limit of small voxels: the integral over each line of sight between the distances where its density
is that at the position. With finer grids crossmatch comes closer to them.
"""
import base64
import gzip
import io
import json
import pathlib
import sys
from importlib.metadata import version

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy_healpix import HEALPix, uniq_to_level_ipix
from ligo.skymap.distance import parameters_to_marginal_moments, parameters_to_moments
from ligo.skymap.io import read_sky_map
from ligo.skymap.postprocess import crossmatch

PROBS = (0, 0.1, 0.3, 0.49, 0.7, 0.89, 0.95, 0.99)
RANDOM = 4
GRID = 6 / 1000  # spacing of crossmatch's distances, of the mean distance
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)
COLUMNS = ("ra", "dec", "distance", "searched_prob", "searched_area", "probdensity", "searched_prob_vol", "searched_vol", "probdensity_vol", "converged_prob_vol", "converged_vol")


def converged(table, ra, dec, distance):
    """Probability and volume [Mpc³] where the density in space is higher than at each position."""
    level, ipix = uniq_to_level_ipix(np.asarray(table["UNIQ"]))
    density, mu, sigma, norm = (np.asarray(table[name]) for name in ("PROBDENSITY", "DISTMU", "DISTSIGMA", "DISTNORM"))
    known = (norm > 0) & np.isfinite(mu) & (density > 0)
    area, log_peak = 4 * np.pi / (12 * 4.0**level), np.full(len(density), -np.inf)
    log_peak[known] = np.log(density[known] * norm[known] / (sigma[known] * np.sqrt(2 * np.pi)))
    found = []
    for at_ra, at_dec, at in zip(ra, dec, distance):
        pixels = [HEALPix(2**int(of), order="nested").lonlat_to_healpix(at_ra * u.deg, at_dec * u.deg) for of in range(level.max() + 1)]
        own = np.flatnonzero(ipix == np.array(pixels)[level])[0]
        if not known[own]:
            found.append((np.nan, np.nan))
            continue
        log_here = log_peak[own] - 0.5 * ((at - mu[own]) / sigma[own])**2
        inside = log_peak > log_here
        m, s, solid = mu[inside], sigma[inside], area[inside]
        half = s * np.sqrt(2 * (log_peak[inside] - log_here))
        near, far = np.maximum(m - half, 0), np.maximum(m + half, 0)
        r = (near + far)[:, None] / 2 + (far - near)[:, None] / 2 * NODES
        line = np.exp(log_peak[inside][:, None] - 0.5 * ((r - m[:, None]) / s[:, None])**2) * r**2
        found.append((np.sum(solid * (far - near) / 2 * (line @ WEIGHTS)), np.sum(solid * (far**3 - near**3) / 3)))
    return np.transpose(found)


def values(bytes_, random):
    plain = Table.read(io.BytesIO(bytes_), format="fits")
    has_distances = "DISTMU" in plain.colnames
    table = read_sky_map(io.BytesIO(bytes_), moc=True, distances=has_distances)
    uniq = np.asarray(table["UNIQ"], dtype=np.uint64)
    order = (np.log2(uniq.astype(float) / 4) // 2).astype(int)
    ipix = (uniq - 4 * np.uint64(4) ** order.astype(np.uint64)).astype(np.int64)
    density = np.asarray(table["PROBDENSITY"])
    falling = np.argsort(-density, kind="stable")
    probs = np.cumsum((density * 4 * np.pi / (12 * 4.0**order))[falling])
    _, first, counts = np.unique(density[falling], return_index=True, return_counts=True)
    alone = np.sort(first[counts == 1])
    cells = falling[alone[np.minimum(np.searchsorted(probs[alone], PROBS), len(alone) - 1)]] if len(alone) else []
    centres = [HEALPix(2 ** int(order[i]), order="nested").healpix_to_lonlat([ipix[i]]) for i in cells]
    ra = np.concatenate([[lon.to_value(u.deg)[0] for lon, _ in centres], random.uniform(0, 360, RANDOM)])
    dec = np.concatenate([[lat.to_value(u.deg)[0] for _, lat in centres], np.degrees(np.arcsin(random.uniform(-1, 1, RANDOM)))])
    distance = None
    if has_distances:
        mean, std, _ = parameters_to_moments(np.asarray(table["DISTMU"]), np.asarray(table["DISTSIGMA"]))
        known = np.asarray(plain["DISTNORM"]) > 0
        typical = float(np.average(mean[known], weights=density[known])), float(np.average(std[known], weights=density[known]))
        own = [(mean[i], std[i]) if known[i] and np.isfinite(mean[i]) else typical for i in cells] + [typical] * RANDOM
        prob = density * 4 * np.pi / (12 * 4.0**order)
        spacing = GRID * parameters_to_marginal_moments(prob, np.asarray(table["DISTMU"]), np.asarray(table["DISTSIGMA"]))[0]
        distance = np.array([max(m + s * x, 0.05 * m) for (m, s), x in zip(own, np.resize([-1, 0.5, 0, 2, -2, 1, -0.5], len(own)))])
        # A little beyond, so that rounding does not move it to the distance before.
        distance = (np.clip(np.round(distance / spacing), 1, 900) + 1e-6) * spacing
    where = SkyCoord(ra * u.deg, dec * u.deg, distance=None if distance is None else distance * u.Mpc)
    found = crossmatch(table, where)
    limit = (None, None) if distance is None else converged(table, ra, dec, distance)
    columns = [ra, dec, distance, *(getattr(found, name) for name in COLUMNS[3:-2]), *limit]
    rows = zip(*(column if column is not None and np.ndim(column) else [None] * len(ra) for column in columns))
    in_space = len(COLUMNS) - 5
    alone = [np.count_nonzero(density == of) == 1 for of in found.probdensity]
    rows = [row[:in_space] + (row[in_space:] if row[in_space + 2] else (None,) * 5) for row, one in zip(rows, alone) if one]
    return [[None if x is None else float(x) for x in row] for row in rows]


def main():
    random = np.random.default_rng(1)
    maps = {}
    for path in sys.argv[1:]:
        notice = json.load(open(path))
        event = notice.get("event")
        if event and event.get("skymap"):
            bytes_ = base64.b64decode(event["skymap"])
            if bytes_[:2] == b"\x1f\x8b":
                bytes_ = gzip.decompress(bytes_)
            maps[f"{pathlib.Path(path).name} skymap"] = values(bytes_, random)
    tools = ", ".join(f"{tool} {version(tool)}" for tool in ("ligo.skymap", "astropy", "numpy"))
    print(json.dumps({
        "note": f"made by crossmatch.py with {tools}",
        "columns": COLUMNS,
        "maps": maps,
    }, separators=(",", ":")).replace('],"', '],\n"').replace('"maps"', '\n"maps"'))


main()
