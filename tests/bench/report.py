"""The figures, as tables to read and as ``bench.json``."""

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.cells import Cell, Measured, Results, saturated
from tests.bench.goals import Goal
from tests.bench.operations import MIB

_COLUMNS = (
    f"{'requests/s':>11}{'MB/s':>9}{'p50 ms':>9}{'p99 ms':>9}"
    f"{'front us':>10}{'store us':>10}{'peak MiB':>10}{'load':>7}"
)


def print_cell(cell: Cell, results: Results) -> None:
    """The table of a cell."""
    rows = [measured for (name, _), measured in results.items() if name == cell.name]
    print(f"\n{cell.name}  ({max(len(row.samples) for row in rows)} rounds)")
    print(f"  {'':22}{_COLUMNS}")
    for row in sorted(rows, key=lambda each: each.contender):
        print(f"  {row.contender:22}{_figures(row)}")
    sys.stdout.flush()


def _figures(row: Measured) -> str:
    if not row.samples:
        return f" failed: {row.fault}"
    found = row.summary()
    cpu = found["cpu_us_per_request"]
    front = f"{cpu['front']:10.0f}" if "front" in cpu else f"{'-':>10}"
    return (
        f"{found['requests_per_second']:11.1f}{found['megabytes_per_second']:9.1f}{found['p50_ms']:9.2f}"
        f"{found['p99_ms']:9.2f}{front}{cpu['store']:10.0f}{found['peak_rss_bytes'] / MIB:10.1f}"
        f"{found['generator_share_of_a_core']:7.0%}"
    )


def print_core(core: Mapping[str, float]) -> None:
    """What bytes cost by themselves."""
    print("\nCPU per MiB, us (ratios: of AESGCM.encrypt_into to it)")
    for name, figure in core.items():
        print(f"  {name:22}{figure:11.2f}")


def print_goals(goals: Sequence[Goal]) -> None:
    """The goals that were measured."""
    print(f"\n{'goal':58}{'':>4}{'wanted':>9}{'measured':>10}")
    for goal in goals:
        if goal.measured is None:
            continue
        sign = "<=" if goal.at_most else ">="
        print(f"  {goal.name:56}{sign:>4}{goal.goal:9.2f}{goal.measured:10.2f}  {'met' if goal.met else 'NOT MET'}")


def print_saturation(results: Results) -> None:
    found = list(saturated(results))
    print(
        "\nthe load generator was the bottleneck nowhere"
        if not found
        else "\nthe load generator took most of a core in:"
    )
    for name in found:
        print(f"  {name}")


def write(
    file: Path, results: Results, core: Mapping[str, float], extra: Mapping[str, Any], goals: Sequence[Goal]
) -> None:
    """Writes ``bench.json``."""
    document = {
        "machine": {"system": platform.platform(), "processor": _processor(), "python": platform.python_version()},
        "goals": [goal.summary() for goal in goals],
        "core_us_per_mib": dict(core),
        "extra": dict(extra),
        "saturated": list(saturated(results)),
        "cells": [measured.summary() for measured in results.values()],
    }
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else ""
