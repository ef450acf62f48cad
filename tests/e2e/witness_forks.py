"""Starts a witness as often as it is told to, each time in a new process, without importing everything again.

    python -m tests.e2e.witness_forks <config>        a line on standard input starts one

It answers with the process id and the witness's own ready line, and waits until that process has ended.
"""

import json
import os
import sys
from pathlib import Path

from witness.__main__ import serve


def main() -> None:
    config = Path(sys.argv[1])
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            os.close(0)
            os._exit(serve(config))
        print(json.dumps({"pid": child}), flush=True)
        os.waitpid(child, 0)
        print(json.dumps({"ended": child}), flush=True)


if __name__ == "__main__":
    main()
