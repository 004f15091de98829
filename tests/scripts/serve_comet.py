"""Runs comet, a VOEvent broker, on the loopback interface: serve_comet.py OPTION… (those of `twistd comet`)."""

import sys

from comet.service import broker
from twisted.application.internet import TCPServer
from twisted.scripts.twistd import run

# comet listens on every interface, without an option for another.
broker.TCPServer = lambda port, factory: TCPServer(port, factory, interface="127.0.0.1")
sys.argv = ["twistd", "--nodaemon", "--pidfile=", "comet", *sys.argv[1:]]
run()
