"""What did a launcher tell the program that it runs? Written down for another process, for as long as
that one lives.

`python3 env_dump.py PID FILE PREFIX`: variables that begin with PREFIX, in any letters, as JSON. Started by a
launcher with a path and not as a module, so it may import the standard library alone.
"""

import json
import os
import sys
import time
from pathlib import Path


def main(pid: str, file: str, prefix: str) -> None:
    found = {k: v for k, v in os.environ.items() if k.lower().startswith(prefix)}
    aside = Path(f"{file}.part")
    aside.write_text(json.dumps(found))
    aside.rename(file)
    while Path("/proc", pid).exists():
        time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
