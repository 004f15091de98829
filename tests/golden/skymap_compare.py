#!/usr/bin/env python3
"""Compares the public Python recipe and `gwtm` on the same notices: time, memory, and quality of the rings.

    cargo build --release --package cli --bin gwtm
    python -m venv venv && venv/bin/pip install ligo.skymap mocpy healpy
    venv/bin/python skymap_compare.py target/release/gwtm NOTICE.json…

RECIPE is that of ligo.skymap's documentation: rasterise, interpolate, greedy credible levels, contours, simplify.
`gwtm run` processes the whole alert: notice, map, contours, credible regions, flat map, bodies of posts. Rings are
evaluated independently of both: each cell is sampled at 16 points, which are inside or outside by the edges between
them and the side of the map's peak; sums over the points give the probability inside and the area enclosed. Regions are
compared with mocpy's, and the flat map is read with healpy.

--no-recipe skips the recipe (half a minute and 8 GiB for an order-11 map).
"""
import argparse
import base64
import gzip
import io
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import healpy
import numpy as np
from astropy.table import Table
from mocpy import MOC

RECIPE = """
import json, sys
from ligo.skymap.bayestar import rasterize
from ligo.skymap.io import read_sky_map
from ligo.skymap.postprocess.contour import contour
from ligo.skymap.healpix_tree import interpolate_nested
from ligo.skymap.postprocess.util import find_greedy_credible_levels
prob = rasterize(read_sky_map(sys.argv[1], moc=True))["PROB"]
levels = 100 * find_greedy_credible_levels(interpolate_nested(prob, nest=True))
paths = contour(levels, [50, 90], nest=True, degrees=True, simplify=True)
features = [
    {"properties": {"credible_level": level}, "geometry": {"coordinates": [[list(map(float, p)) for p in path] for path in rings]}}
    for level, rings in zip([50, 90], paths)
]
json.dump({"features": features}, open(sys.argv[2], "w"))
"""
SAMPLES = 2  # orders below a cell: 4**2 places
DEG2 = (180 / np.pi) ** 2


class Map:
    def __init__(self, bytes_):
        table = Table.read(io.BytesIO(bytes_), format="fits")
        self.uniq = np.asarray(table["UNIQ"], dtype=np.uint64)
        self.density = np.asarray(table["PROBDENSITY"], dtype=float)
        self.order = (np.log2(self.uniq.astype(float) / 4) // 2).astype(int)
        self.ipix = (self.uniq - 4 * np.uint64(4) ** self.order.astype(np.uint64)).astype(np.int64)
        self.area = 4 * np.pi / (12 * 4.0**self.order)
        self.prob = self.density * self.area

    def interpolated_area(self, level):
        """[deg²], as ligo.skymap's crossmatch."""
        falling = np.argsort(-self.density, kind="stable")
        probs = np.concatenate([[0], np.cumsum(self.prob[falling])])
        areas = np.concatenate([[0], np.cumsum(self.area[falling])])
        return np.interp(level, probs, areas) * DEG2

    def places(self):
        """Longitude and latitude [rad] of the places of every cell, (cells, places)."""
        lon, lat = (np.empty((len(self.ipix), 4**SAMPLES)) for _ in range(2))
        for order in np.unique(self.order):
            of = self.order == order
            children = self.ipix[of, None] * 4**SAMPLES + np.arange(4**SAMPLES)
            theta, lon[of] = healpy.pix2ang(2 ** (int(order) + SAMPLES), children, nest=True)
            lat[of] = np.pi / 2 - theta
        # Off the meridians of pixel corners, where rings may have vertices.
        return lon + 1e-7, lat

    def peak(self):
        cell = np.argmax(self.density)
        theta, lon = healpy.pix2ang(2 ** int(self.order[cell]), int(self.ipix[cell]), nest=True)
        return np.array([lon]), np.array([np.pi / 2 - theta])


def crossings(rings, lon, lat):
    """How many edges lie between each place and the north pole along its meridian."""
    count = np.zeros(lon.shape, dtype=int)
    by_lon = np.argsort(lon, axis=None)
    flat_lon, flat_lat, flat_count = lon.ravel()[by_lon], lat.ravel()[by_lon], np.zeros(lon.size, dtype=int)
    for ring in rings:
        ring = np.radians(np.asarray(ring))
        if not np.array_equal(ring[0], ring[-1]):
            ring = np.vstack([ring, ring[:1]])
        for (lon_a, lat_a), (lon_b, lat_b) in zip(ring[:-1], ring[1:]):
            turn = (lon_b - lon_a + np.pi) % (2 * np.pi) - np.pi
            low, high = min(lon_a, lon_a + turn), max(lon_a, lon_a + turn)
            for shift in (-2 * np.pi, 0, 2 * np.pi):
                first, last = np.searchsorted(flat_lon, [low + shift, high + shift])
                if first == last or turn == 0:
                    continue
                # Latitude where the great circle through both ends crosses the meridian.
                at = flat_lon[first:last] - shift
                lats = np.tan(lat_a) * np.sin(lon_a + turn - at) + np.tan(lat_b) * np.sin(at - lon_a)
                crossing = np.arctan(lats / np.sin(turn))
                flat_count[first:last] += crossing > flat_lat[first:last]
    count.ravel()[by_lon] = flat_count
    return count


def quality(map_, geojson):
    lon, lat = map_.places()
    for feature in geojson["features"]:
        level = feature["properties"]["credible_level"] / 100
        rings = feature["geometry"]["coordinates"]
        at_peak = crossings(rings, *map_.peak()) % 2
        inside = (crossings(rings, lon, lat) % 2 == at_peak).mean(axis=1)
        prob, area = (inside * map_.prob).sum(), (inside * map_.area).sum() * DEG2
        vertices = sum(len(ring) for ring in rings)
        yield level, prob, area / map_.interpolated_area(level), len(rings), vertices


def run(command):
    """Wall time [s] and peak memory [MiB] of a command."""
    begun = time.perf_counter()
    # A separate process, to measure its peak memory.
    code = (
        "import resource,subprocess,sys; done=subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr}")
    return time.perf_counter() - begun, int(done.stdout) / 1024


def moc_cells(moc):
    return sorted(int(cell) for cell in moc.uniq_hpx)


def compare(gwtm, notice, recipe):
    parsed = json.load(open(notice))
    bytes_ = base64.b64decode(parsed["event"]["skymap"])
    bytes_ = gzip.decompress(bytes_) if bytes_[:2] == b"\x1f\x8b" else bytes_
    map_ = Map(bytes_)
    print(f"{notice.name}: order {map_.order.max()}, {len(map_.uniq)} cells")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        ours = run([gwtm, "run", notice, "--store", folder / "ours"])
        print(f"  gwtm run, the whole alert    {ours[0]:8.2f} s {ours[1]:8.0f} MiB")
        products = next((folder / "ours").glob("[ft]*/*_moc.fits.gz")).parent
        of = lambda ending: next(path for path in products.glob(f"*{ending}") if "ExtCoinc" not in path.name)
        results = [("gwtm", json.load(open(of("-contours-smooth.json"))))]
        if recipe:
            (folder / "map.fits").write_bytes(bytes_)
            seconds, memory = run([sys.executable, "-c", RECIPE, folder / "map.fits", folder / "rings.json"])
            print(f"  the recipe, contours alone   {seconds:8.2f} s {memory:8.0f} MiB")
            print(f"  the recipe takes {seconds / ours[0]:.0f} times as long and {memory / ours[1]:.0f} times the memory")
            results.append(("recipe", json.load(open(folder / "rings.json"))))
        for name, geojson in results:
            for level, prob, ratio, rings, vertices in quality(map_, geojson):
                print(f"  {name:6} {level:.0%}: probability inside {prob:.4f}, area ratio {ratio:.4f}, {rings} rings, {vertices} vertices")
        for level in (50, 90):
            theirs = MOC.from_valued_healpix_cells(
                map_.uniq, map_.prob, max_depth=int(map_.order.max()), cumul_from=0, cumul_to=level / 100
            )
            same = moc_cells(MOC.load(str(of(f"-moc-{level}.json")), "json")) == moc_cells(theirs)
            print(f"  {level} % region: {'the cells of mocpy' if same else 'OTHER cells than mocpy'}")
        flat = of(f"{of('_moc.fits.gz').name.removesuffix('_moc.fits.gz')}.fits.gz")
        columns = np.atleast_2d(healpy.read_map(str(flat), field=None, dtype=None))
        print(f"  flat map: nside {healpy.get_nside(columns[0])}, {len(columns)} columns for healpy, 1 - sum {1 - columns[0].sum():.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gwtm", type=pathlib.Path)
    parser.add_argument("notices", nargs="+", type=pathlib.Path)
    parser.add_argument("--no-recipe", action="store_true")
    arguments = parser.parse_args()
    for notice in arguments.notices:
        compare(arguments.gwtm.resolve(), notice, not arguments.no_recipe)


main()
