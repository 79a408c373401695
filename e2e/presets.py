"""``python -m e2e.presets [--check]``: write the chart's presets from the rows of ``core/capacity/clouds.py``,
or say which are stale."""

import argparse
import sys
from pathlib import Path

import yaml

from e2e.stages import ROOT
from preamar.core.capacity.clouds import CLOUDS, Cloud

MADE = "Made from operator/preamar/core/capacity/clouds.py by `make crds`: change it there."
CHART = ROOT / "charts/preamar"


def preset(cloud: Cloud) -> str:
    """The values file of one cloud, its advice first."""
    name = f"values-{cloud.name}.yaml"
    head = [f"{cloud.title}: helm install preamar … -f {name}", *cloud.advice, MADE]
    values = {**cloud.values, "spotNoticeSeconds": cloud.notice_seconds}
    text = yaml.safe_dump(values, sort_keys=False, width=1000)
    return "".join(f"# {line}\n" for line in head) + text


def main(arguments: list[str] | None = None) -> int:
    """0 when the files are (or were made) up to date, 1 when --check found stale ones."""
    parser = argparse.ArgumentParser(prog="python -m e2e.presets", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    parser.add_argument("--chart", type=Path, default=CHART, help="the chart's folder")
    options = parser.parse_args(arguments)
    made = {options.chart / f"values-{cloud.name}.yaml": preset(cloud) for cloud in CLOUDS}
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if not options.check:
            path.write_text(made[path])
        print(f"{path.name} {'is stale: run `make crds`' if options.check else 'written'}")
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
