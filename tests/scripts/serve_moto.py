"""moto's server, with executions of Step Functions that run: `serve_moto.py -H ADDRESS -p PORT`."""

import copy
import sys

from moto.core.config import default_user_config
from moto.server import main
from moto.stepfunctions.models import StateMachine

default_user_config["stepfunctions"] = {"execute_state_machine": True}
# moto copies a state machine with all that runs of it, which cannot be copied.
StateMachine.__deepcopy__ = lambda machine, memo: copy.copy(machine)
main(sys.argv[1:])
