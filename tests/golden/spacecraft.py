"""Generates events/FERMI_POINTING_FINAL_030_2008365_2009013_00.fits, a synthetic spacecraft file (FT2) with LAT's pointing
at the samples' signals: two rows of 30 s around each, nothing in between. Needs no package.

    python3 tests/golden/spacecraft.py
"""
import datetime
import json
import pathlib
import struct

EVENTS = pathlib.Path(__file__).parents[2] / 'events'
MET_0 = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)
LEAP_SECONDS = 2  # of the beginnings of 2006 and 2009
COLUMNS = ['START', 'STOP', 'RA_SCZ', 'DEC_SCZ']


def block(cards):
    text = ''.join(card.ljust(80) for card in [*cards, 'END'])
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


def card(name, value):
    return f'{name:8}= {value:>20}'


times = set()
for path in sorted((EVENTS / 'notices').glob('*.json')):
    time = (json.loads(path.read_text()).get('event') or {}).get('time')
    if time:
        times.add(datetime.datetime.fromisoformat(time.replace('Z', '+00:00')))
rows = b''
for time in sorted(times):
    met = (time - MET_0).total_seconds() + LEAP_SECONDS
    day = (time - datetime.datetime(2009, 1, 1, tzinfo=datetime.timezone.utc)).days
    axis = (110 + 35 * day) % 360, 45 - 10 * (day % 10)
    for start in (met - 35, met - 5):
        rows += struct.pack('>4d', start, start + 30, *axis)
columns = [part for i, name in enumerate(COLUMNS, 1)
           for part in (card(f'TTYPE{i}', f"'{name:8}'"), card(f'TFORM{i}', "'D       '"))]
head = [card('SIMPLE', 'T'), card('BITPIX', 8), card('NAXIS', 0), card('EXTEND', 'T')]
table = ["XTENSION= 'BINTABLE'", card('BITPIX', 8), card('NAXIS', 2), card('NAXIS1', 32),
         card('NAXIS2', len(rows) // 32), card('PCOUNT', 0), card('GCOUNT', 1), card('TFIELDS', 4),
         *columns, card('EXTNAME', "'SC_DATA '"), card('TIMESYS', "'TT      '")]
data = rows.ljust(-(-len(rows) // 2880) * 2880, b'\0')
(EVENTS / 'FERMI_POINTING_FINAL_030_2008365_2009013_00.fits').write_bytes(block(head) + block(table) + data)
