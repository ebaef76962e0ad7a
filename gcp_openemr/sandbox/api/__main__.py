"""`python -m gcp_openemr.sandbox.api --state DIR --port N`: the APIs alone, with nothing running behind them."""

from __future__ import annotations

import argparse
import signal
import socket
from pathlib import Path

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.nothing_runs import NothingRuns
from gcp_openemr.sandbox.api.server import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gcp_openemr.sandbox.api", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="directory of the state; made when missing")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    arguments = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    app = App(arguments.state)
    app.start(NothingRuns())
    server = serve(socket.create_server(("127.0.0.1", arguments.port)), app)
    print(f"http://127.0.0.1:{server.port} token in {arguments.state / 'operator-token'}", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    server.close()
    app.close()


if __name__ == "__main__":
    main()
