"""Golden values for shared/science/src/visibility/bat.rs: where sky positions lie in Swift BAT's field, and their partial
coding, for three pointings.

    pip install swiftbat
    python bat.py > bat.json

Angles from the boresight and around it, and the open area of the coded detectors: the BAT team's package swiftbat
(<https://github.com/lanl/swiftbat_python>), `source.thetangle_phi` and `source.exposure`. The partial coding is that area
over the one on the axis. A position is seen above 10 %.
"""
import importlib.metadata
import json

import astropy.units as u
import swiftbat
from astropy.coordinates import SkyCoord

POINTINGS = [(187.70593, 12.39112, 281.7), (359.2, -69.3, 12.25), (83.63308, 88.4, 155.0)]
# From the boresight, and the position angle from north through east [deg].
OFFSETS = [(angle, position_angle) for angle in (0.5, 15, 30, 40, 48, 55, 62) for position_angle in range(7, 360, 29)]
OFFSETS += [(90, 100), (135, 200), (179, 300)]

on_axis = swiftbat.batExposure(0, 0)[0]
pointings = []
for ra, dec, roll in POINTINGS:
    boresight = SkyCoord(ra * u.deg, dec * u.deg)
    positions = []
    for angle, position_angle in OFFSETS:
        place = boresight.directional_offset_by(position_angle * u.deg, angle * u.deg)
        source = swiftbat.source(ra=place.ra.deg, dec=place.dec.deg)
        theta, phi = source.thetangle_phi(ra, dec, roll)
        positions.append({
            "ra": place.ra.deg, "dec": place.dec.deg, "theta": theta.deg, "phi": phi.deg,
            "partial_coding": max(0.0, float(source.exposure(ra, dec, roll)[0] / on_axis)),
        })
    pointings.append({"ra": ra, "dec": dec, "roll": roll, "positions": positions})
versions = {name: importlib.metadata.version(name) for name in ("swiftbat", "astropy")}
note = "made by bat.py with " + ", ".join(f"{name} {version}" for name, version in versions.items())
print(json.dumps({"note": note, "pointings": pointings}, indent=1))
