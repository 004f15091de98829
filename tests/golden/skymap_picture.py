#!/usr/bin/env python3
"""Draws a map's cells, rings and 90 % region in one picture.

    python skymap_picture.py MAP.fits CONTOURS.json [MOC.json] OUT.png

MAP is a multi-order map (`…_moc.fits.gz`), the others are its products. Needs numpy, astropy,
astropy-healpix, matplotlib.
"""
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from astropy_healpix import HEALPix
from matplotlib.collections import LineCollection, PolyCollection


def corners(order, ipix, around):
    """Longitude and latitude [deg] of the corners of cells, the longitude within 180° of `around`."""
    lon, lat = HEALPix(2**order, "nested").boundaries_lonlat(ipix, 1)
    lon = (lon.deg - around + 180) % 360 - 180 + around
    wide = np.ptp(lon, axis=1) > 180
    lon[wide] = np.where(lon[wide] < around, lon[wide] + 360, lon[wide])
    return np.stack([lon, lat.deg], axis=-1)


def draw(axes, table, features, moc, around, window):
    uniq, density = table["UNIQ"].astype(np.int64), table["PROBDENSITY"].astype(float)
    order = (np.log2(uniq // 4) // 2).astype(int)
    ipix = uniq - 4 * 4**order
    top = np.log10(density.max())
    for o in np.unique(order):
        of = order == o
        polygons = corners(o, ipix[of], around)
        colour = np.clip(np.log10(density[of] + 1e-300), top - 4, top)
        cells = PolyCollection(polygons, array=colour, cmap="Blues", edgecolors="0.8", linewidths=0.15)
        cells.set_clim(top - 4, top)
        axes.add_collection(cells)
    for o, cells in (moc or {}).items():
        if cells:
            polygons = corners(int(o), np.array(cells), around)
            axes.add_collection(PolyCollection(polygons, facecolors="none", edgecolors="tab:green", linewidths=0.4))
    for feature in features:
        colour = {50: "tab:red", 90: "tab:orange"}[feature["properties"]["credible_level"]]
        lines = []
        for ring in feature["geometry"]["coordinates"]:
            ring = np.array(ring)
            ring[:, 0] = np.rad2deg(np.unwrap(np.deg2rad(ring[:, 0])))
            middle = ring[:, 0].mean()
            lines += [ring + [np.round((around - middle) / 360) * 360 + turn, 0] for turn in (-360, 0, 360)]
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=1.0))
        for line in lines:
            axes.plot(line[:, 0], line[:, 1], ".", color=colour, markersize=1.2)
    (left, right), (bottom, up) = window
    axes.set(xlim=(right, left), ylim=(bottom, up), xlabel="right ascension [deg]", ylabel="declination [deg]")


def main():
    *inputs, out = sys.argv[1:]
    table = fits.open(inputs[0])[1].data
    features = json.load(open(inputs[1]))["features"]
    moc = json.load(open(inputs[2])) if len(inputs) > 2 else None
    rings = [np.array(r) for f in features for r in f["geometry"]["coordinates"] if f["properties"]["credible_level"] == 90]
    largest = max(rings, key=len)
    lon = np.rad2deg(np.unwrap(np.deg2rad(largest[:, 0])))
    around = lon.mean() % 360
    lon += np.round((around - lon.mean()) / 360) * 360
    figure, (whole, part) = plt.subplots(1, 2, figsize=(20, 10))
    draw(whole, table, features, moc, around, ((around - 180, around + 180), (-90, 90)))
    margin = 0.05 * (np.ptp(largest[:, 1]) + 1)
    box = ((lon.min() - margin, lon.max() + margin), (largest[:, 1].min() - margin, largest[:, 1].max() + margin))
    draw(part, table, features, moc, around, box)
    figure.tight_layout()
    figure.savefig(out, dpi=70)


main()
