"""The demo: `python app.py [--host HOST] [--port PORT]`, then open the address that it prints."""

import argparse
import logging
import os
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the two options, which the environment can set as well, and serve."""
    parser = argparse.ArgumentParser(description="Serve the Nijigen demo.")
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), help="where to listen")
    parser.add_argument("--port", default=int(os.environ.get("GRADIO_SERVER_PORT", "7860")), type=int, help="its port")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from space.ui import server  # reads the variable above, and takes seconds: not before --help

    server.serve(address=options.host, port=options.port)


if __name__ == "__main__":
    main()
