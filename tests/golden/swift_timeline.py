"""Golden values for shared/science/src/visibility/swift_timeline.rs: what the Swift service's published client asks, and what it
reads in the invented answers of swift_timeline/sample.json.

    pip install 'swifttools>=4'
    python swift_timeline.py > swift_timeline.json

The client asks a loopback service, which answers with the sample. `clock_correct` converts its times to UTC.
"""
import datetime
import http.server
import importlib.metadata
import json
import os
import pathlib
import threading
import urllib.parse

SAMPLE = json.loads((pathlib.Path(__file__).parents[2] / "shared/science/src/visibility/swift_timeline/sample.json").read_text())
MET_0 = datetime.datetime(2001, 1, 1)
requests = []


class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.removeprefix("/").partition("?")
        given = urllib.parse.parse_qs(query)
        if "swifttime" not in given:
            requests.append(urllib.parse.unquote(self.path.removeprefix("/")))
        answer = SAMPLE[path.removeprefix("swift/")]
        if isinstance(answer, list):
            answer = answer[0]
        if "swifttime" in given:
            utcf = answer["entries"][0]["utcf"]
            times = [datetime.datetime.fromisoformat(text) for text in given["swifttime"]]
            answer = {**answer, "entries": [{"met": (time - MET_0).total_seconds(), "utcf": utcf, "isutc": False} for time in times]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["SWIFT_TOO_API_URL"] = f"http://127.0.0.1:{server.server_port}"
from swifttools.swift_too import Clock, ObsQuery, PlanQuery, SAA  # noqa: E402, which reads the address

hour = datetime.datetime.fromisoformat(SAMPLE["hour"]).replace(tzinfo=None)
begin, end = hour - datetime.timedelta(hours=2), hour + datetime.timedelta(hours=3)


def utc(time):
    return time.isoformat() + "Z"


def read(query):
    assert query.status.status == "Accepted", query.status
    # Only the entries' times: those of the request stay.
    for entry in query.entries:
        entry.clock_correct()
    rows = []
    for entry in query.entries:
        row = {name: utc(getattr(entry, name)) for name in ("begin", "settle", "end") if getattr(entry, name, None)}
        rows.append(row | {name: getattr(entry, name) for name in ("ra", "dec", "roll")})
    return rows


clock = Clock(utctime=hour)
passages = SAA(begin=begin, end=end, bat=True)
flown = read(ObsQuery(begin=begin, end=end, limit=200, offset=0))
planned = read(PlanQuery(begin=begin, end=end))
print(json.dumps({
    "note": f"made by swift_timeline.py with swifttools {importlib.metadata.version('swifttools')}",
    "requests": requests,
    "utcf": clock.utcf,
    "saa": [{"begin": utc(entry.begin), "end": utc(entry.end)} for entry in passages.entries],
    "flown": flown,
    "planned": planned,
}, indent=1))
