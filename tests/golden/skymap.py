#!/usr/bin/env python3
"""Golden values for tests/tests/it/golden.rs: the bundled sky maps in public tools.

    pip install ligo.skymap mocpy healpy
    python skymap.py ../../events/notices/*.json > skymap.json

Areas, modes and volumes: ligo.skymap's crossmatch. Distances: ligo.skymap's marginal distribution. Credible regions:
mocpy, strict. Flat map: ligo.skymap's rasterize, degraded with healpy.
"""
import base64
import gzip
import hashlib
import io
import json
import pathlib
import sys
from importlib.metadata import version

import healpy
import numpy as np
from astropy.table import Table
from ligo.skymap.bayestar import rasterize
from ligo.skymap.distance import marginal_ppf, parameters_to_marginal_moments, parameters_to_moments
from ligo.skymap.io import read_sky_map
from ligo.skymap.postprocess import crossmatch
from mocpy import MOC

LEVELS = (0.5, 0.9)
AREAS = (100, 500, 1000)
FLAT_ORDER = 6
PIXELS = 12


def values(bytes_):
    plain = Table.read(io.BytesIO(bytes_), format="fits")
    table = read_sky_map(io.BytesIO(bytes_), moc=True, distances="DISTMU" in plain.colnames)
    found = crossmatch(table, contours=LEVELS, areas=AREAS, modes=True)
    uniq = np.asarray(table["UNIQ"], dtype=np.uint64)
    order = (np.log2(uniq.astype(float) / 4) // 2).astype(int)
    prob = np.asarray(table["PROBDENSITY"]) * 4 * np.pi / (12 * 4.0**order)
    result = {
        "rows": len(table),
        "order": int(order.max()),
        "areas_deg2": [float(a) for a in found.contour_areas],
        "modes": [int(m) for m in found.contour_modes],
        "area_probs": [float(p) for p in found.area_probs],
        "moc_cells": [],
        "moc_sha256": [],
    }
    for level in LEVELS:
        moc = MOC.from_valued_healpix_cells(uniq, prob, max_depth=int(order.max()), cumul_from=0, cumul_to=level)
        cells = sorted(int(cell) for cell in moc.uniq_hpx)
        result["moc_cells"].append(len(cells))
        result["moc_sha256"].append(hashlib.sha256(",".join(map(str, cells)).encode()).hexdigest())
    known = np.asarray(plain["DISTNORM"]) > 0 if "DISTMU" in plain.colnames else None
    if known is not None:
        p, mu, sigma, norm = (np.asarray(a)[known] for a in (prob, table["DISTMU"], table["DISTSIGMA"], table["DISTNORM"]))
        mean, std = parameters_to_marginal_moments(p / p.sum(), mu, sigma)
        result["distance_mean_std"] = [float(mean), float(std)]
        # marginal_ppf weights lines of sight by probability, so pixels of any area are allowed.
        result["distance_quantiles"] = [float(x) for x in marginal_ppf([0.05, 0.5, 0.95], p / p.sum(), mu, sigma, norm)]
        result["volumes_mpc3"] = [float(v) for v in found.contour_vols]
    flat = rasterize(table)
    nside = 2 ** min(int(order.max()), FLAT_ORDER)
    fine = np.asarray(flat["PROB"])
    degraded = healpy.ud_grade(fine, nside, order_in="NESTED", order_out="NESTED", power=-2)
    # The most probable pixels that hold 99.9 %.
    falling = np.argsort(-degraded, kind="stable")
    last = int(np.searchsorted(np.cumsum(degraded[falling]), 0.999))
    pixels = falling[np.unique(np.linspace(0, last, PIXELS).astype(int))]
    result["flat_pixels"] = [int(i) for i in pixels]
    result["flat_prob"] = [float(x) for x in degraded[pixels]]
    if known is not None:
        # A coarse pixel's mean distance is that of its fine pixels, weighted by probability.
        means, _, _ = parameters_to_moments(np.asarray(flat["DISTMU"]), np.asarray(flat["DISTSIGMA"]))
        weight = np.where(np.isfinite(means) & (np.asarray(flat["DISTNORM"]) > 0), fine, 0)
        means = np.where(weight > 0, means, 0)
        ratio = len(fine) // len(degraded)
        sums = [(w.reshape(-1, ratio).sum(axis=1))[pixels] for w in (weight * means, weight)]
        result["flat_dist_mean"] = [float(a / b) for a, b in zip(*sums)]
    return result


def main():
    maps = {}
    for path in sys.argv[1:]:
        notice = json.load(open(path))
        parts = [notice.get("event"), notice.get("external_coinc")]
        for part, key in zip(parts, ("skymap", "combined_skymap")):
            if part and part.get(key):
                bytes_ = base64.b64decode(part[key])
                if bytes_[:2] == b"\x1f\x8b":
                    bytes_ = gzip.decompress(bytes_)
                maps[f"{pathlib.Path(path).name} {key}"] = values(bytes_)
    tools = ", ".join(f"{tool} {version(tool)}" for tool in ("ligo.skymap", "mocpy", "healpy", "numpy"))
    print(json.dumps({
        "note": f"made by skymap.py with {tools}",
        "levels": LEVELS,
        "areas_deg2": AREAS,
        "flat_order": FLAT_ORDER,
        "maps": maps,
    }, indent=None, separators=(",", ":")).replace('},"', '},\n"').replace('"maps"', '\n"maps"'))


main()
