"""``python -m preamar.api.crd [--check]``: write the generated files, or say which are stale."""

import argparse
import sys
from difflib import unified_diff
from pathlib import Path

from preamar.api.crd.files import stale

ROOT = Path(__file__).resolve().parents[4]


def main(arguments: list[str] | None = None) -> int:
    """0 when the files are (or were made) up to date, 1 when --check found stale ones."""
    parser = argparse.ArgumentParser(prog="python -m preamar.api.crd", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's root folder")
    options = parser.parse_args(arguments)
    found = stale(options.root)
    for path, (before, after) in found.items():
        if options.check:
            sys.stdout.writelines(
                unified_diff(
                    before.splitlines(keepends=True),
                    after.splitlines(keepends=True),
                    f"{path} (on disk)",
                    f"{path} (from the models)",
                )
            )
        else:
            target = options.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(after, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")
    if options.check and found:
        sys.stdout.write(f"{len(found)} generated files are stale: run `make crds`\n")
        return 1
    if not found:
        sys.stdout.write("generated files are up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
