"""As much of the GWTM as alerts of one process need, and a GraceDB without superevents. The tests have stand-ins that check
what they are sent."""

import http.server
import json
import threading
import time
import urllib.parse


class Gwtm(http.server.BaseHTTPRequestHandler):
    """The API of version 1; a POST takes as long as `holds` says, and `stored` has when each row was there."""

    rows, holds, posts, stored = [], 0.0, 0, []

    @classmethod
    def start(cls):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), cls)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    @staticmethod
    def base(server):
        return f"{Gwtm.gracedb(server)}/api/v1/"

    @staticmethod
    def gracedb(server):
        return f"http://127.0.0.1:{server.server_port}"

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path.startswith("/api/superevents/"):
            return self.answer({"numRows": 0, "superevents": []})
        asked = urllib.parse.parse_qs(url.query).get("graceid")
        of_alerts = url.path.endswith("/query_alerts")
        return self.answer([row for row in Gwtm.rows if of_alerts and (not asked or row["graceid"] == asked[0])])

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Gwtm.posts += 1
        row = body | {"id": Gwtm.posts}
        time.sleep(Gwtm.holds)
        if self.path.endswith("/post_alert"):
            Gwtm.rows.append(row)
            Gwtm.stored.append(time.time())
        self.answer({"icecube_notice": row} if self.path.endswith("/post_icecube_notice") else row)

    def answer(self, body):
        text = json.dumps(body).encode()
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        except OSError:
            pass  # nobody waits for it any more

    def log_message(self, *_):
        pass
