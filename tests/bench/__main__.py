"""The benchmark: ``make bench``, or ``python -m tests.bench``.

Everything runs side by side on this machine, in one run: a ratio is taken between two figures of the same round, and
the median of the rounds is what counts. CPU time is that of the processes themselves, so other load on the machine
does less harm to it than to rates.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tests.bench import extras, report, sealing
from tests.bench.cells import Cell, Results, measure
from tests.bench.contenders import Contender, Wanted, contenders
from tests.bench.goals import GOAL_CELLS, Extra, goals
from tests.bench.operations import GIB, populate
from tests.bench.plan import FULL_CELLS, MORE_CELLS
from tests.e2e.stores import STORES, Store


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _arguments(arguments)
    cells = [*GOAL_CELLS, *({"goals": (), "usual": MORE_CELLS, "full": FULL_CELLS}[asked.plan])]
    cells = [cell for cell in cells if asked.only in cell.name]
    wanted = Wanted(minio="minio" in STORES and asked.plan != "goals", rclone=asked.plan != "goals")
    core = sealing.measure(7)
    report.print_core(core)
    results: Results = {}
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=asked.directory) as name,
        contenders(Path(name), wanted) as found,
    ):
        for cell in cells:
            _run(cell, found, results)
        extra = _extra(found, core, Path(name) / "extra", asked)
    reached = goals(results, extra)
    report.print_saturation(results)
    report.print_goals(reached)
    report.write(asked.output, results, core, asdict(extra), reached)
    print(f"\nall figures are in {asked.output}")
    return 0


def _extra(found: dict[str, Contender], core: Mapping[str, float], folder: Path, asked: argparse.Namespace) -> Extra:
    """What is not measured in cells; nothing of it where only some cells are asked for."""
    extra = Extra(core["seal ratio"], core["open ratio"])
    if asked.only:
        return extra
    _say("32 transfers of 1 GiB")
    populate(found["proxy"], (GIB,), listed=False)
    peak = extras.peak_of_transfers(found["proxy"], None if asked.plan == "full" else 20.0)
    _say("what a range asks of the store")
    store = found["seaweedfs"].account
    direct = Store("seaweedfs", f"http://127.0.0.1:{store.port}", store.signer.access_key_id, store.signer.secret)
    requests, size = extras.cost_of_ranges(folder, direct)
    return replace(extra, range_requests=requests, range_bytes=size, peak=peak)


def _run(cell: Cell, found: dict[str, Contender], results: Results) -> None:
    there = tuple(name for name in cell.contenders if name in found)
    if not there:
        return
    _say(cell.name)
    _provide(cell, [found[name] for name in there])
    measure(replace(cell, contenders=there), found, results)
    report.print_cell(cell, results)


_provided: set[tuple[str, int]] = set()


def _provide(cell: Cell, there: Sequence[Contender]) -> None:
    """Puts the objects there that a cell reads, once."""
    operation = cell.operation
    if operation.kind in ("PUT", "multipart"):
        return
    for contender in there:
        wanted = (contender.objects, operation.size if operation.kind != "list" else 0)
        if wanted not in _provided:
            _provided.add(wanted)
            listed = operation.kind == "list"
            populate(contender, () if listed else (operation.size,), listed=listed)


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {what}", file=sys.stderr, flush=True)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("plan", nargs="?", default="usual", choices=("goals", "usual", "full"))
    parser.add_argument("--only", default="", metavar="TEXT", help="the cells with this in their name")
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(os.environ.get("TMPDIR", "/tmp")),
        help="where the stores keep their data",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
