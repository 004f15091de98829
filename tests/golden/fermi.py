"""Golden values for shared/science/src/visibility: the Earth's disc from a spacecraft on a synthetic Fermi-like orbit.

    pip install sgp4 astropy
    python fermi.py > fermi.json

Position: the sgp4 package (WGS 72). Frames: astropy, TEME -> GCRS and ITRS. Earth orientation data are not needed to
the tolerance of the test (astropy's built-in IERS-B table is used).
"""
import json
import math

import astropy
import astropy.units as u
import sgp4
from astropy.coordinates import GCRS, ITRS, TEME, CartesianRepresentation
from astropy.time import Time
from astropy.utils import iers
from sgp4.api import Satrec

iers.conf.auto_download = False
iers.conf.iers_degraded_accuracy = "warn"

TLE = [
    "FGRST (GLAST)",
    "1 33053U 08029A   23140.50000000  .00005500  00000-0  17000-3 0  9999",
    "2 33053  25.5820 120.4500 0010500 210.3000 149.6500 15.22500000825007",
]
# Every 27 h 37 min 11.123456 s from 2023-05-06, two weeks before the epoch, to 2023-06-02.
START = Time("2023-05-06T12:00:00", scale="utc")
TIMES = [(START + i * 99431.123456 * u.s).isot for i in range(24)]

satellite = Satrec.twoline2rv(*TLE[1:])
cases = []
for text in TIMES:
    time = Time(text, scale="utc")
    error, position, _ = satellite.sgp4(time.jd1, time.jd2)
    assert error == 0
    teme = TEME(CartesianRepresentation(position * u.km), obstime=time)
    gcrs = teme.transform_to(GCRS(obstime=time)).cartesian.xyz.to_value(u.km)
    itrs = teme.transform_to(ITRS(obstime=time)).cartesian.xyz.to_value(u.km)
    radius = math.sqrt(sum(x * x for x in gcrs))
    cases.append({
        "label": text,
        "time": text,
        "truth": {
            "sublon_deg_east": math.degrees(math.atan2(itrs[1], itrs[0])) % 360,
            "sublat_geocentric_deg": math.degrees(math.asin(itrs[2] / radius)),
            "geocentric_radius_km": radius,
            "earth_centre_ra": math.degrees(math.atan2(-gcrs[1], -gcrs[0])) % 360,
            "earth_centre_dec": math.degrees(math.asin(-gcrs[2] / radius)),
            "earth_radius_deg_R6378.137": math.degrees(math.asin(6378.137 / radius)),
        },
    })
note = f"made by fermi.py with sgp4 {sgp4.__version__}, astropy {astropy.__version__}"
print(json.dumps({"note": note, "tle": TLE, "cases": cases}, indent=1))
