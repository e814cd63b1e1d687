"""The commands on buckets: arguments in, exit code and lines for a person out."""

import argparse
import asyncio
import os
from collections import Counter
from pathlib import Path

from proxy.config import Config, StartError, load
from proxy.development import DataDirectory

ADOPT = """\
Puts buckets that the store already has on record, with their owner and Region. The proxy refuses a bucket that it
has no record of (one made beside it, or before it came, or whose record was lost), since it could not know how to
encrypt there. In a bucket adopted with --mixed, objects that were there before the proxy are served as they are;
without it, only what the proxy wrote is.

examples:
  sse-kms-proxy adopt photos --mixed --config proxy.toml
  sse-kms-proxy adopt --all --data-dir ./data             beside a running `sse-kms-proxy dev`
"""

REINDEX = """\
Looks at every object of buckets, in every version, and puts on record again what a lost or damaged state store no
longer tells of them: the tables of parts of multipart objects, the ETags of SSE-S3 objects, and which objects of a
mixed bucket are plaintext. The endpoint may go on running. Buckets must be on record first (see adopt).

A line is printed for each object whose table of parts was rebuilt, since a rebuild can't prove that no part is missing
and that none is an earlier attempt; for each whose key can't be used now or that could not be read; and for each that
is damaged. Nothing that is on record and genuine is changed.

Exit code: 0 all is on record, 1 there are damaged objects, 3 some could not be looked at now.

examples:
  sse-kms-proxy reindex photos --config proxy.toml
  sse-kms-proxy reindex --all --prefix 2026/ --data-dir ./data       beside a running `sse-kms-proxy dev`
"""


def add_adopt(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("buckets", nargs="*", default=[], metavar="BUCKET")
    which.add_argument("--all", action="store_true", help="every bucket of the store that has no record")
    parser.add_argument("--mixed", action="store_true", help="plaintext objects from before may be in them")
    parser.add_argument("--account", metavar="ID", help="the owner; needed if the users have several accounts")
    parser.add_argument("--region", metavar="NAME", help="default: the one that requests to the store are signed for")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", type=Path, metavar="FILE")
    where.add_argument("--data-dir", type=Path, metavar="DIR", help="that of a running `sse-kms-proxy dev`")
    parser.set_defaults(command=_adopt)


def add_reindex(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("buckets", nargs="*", default=[], metavar="BUCKET")
    which.add_argument("--all", action="store_true", help="every bucket of the store")
    parser.add_argument("--prefix", default="", metavar="PREFIX", help="objects whose keys start with it alone")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", type=Path, metavar="FILE")
    where.add_argument("--data-dir", type=Path, metavar="DIR", help="that of a running `sse-kms-proxy dev`")
    parser.set_defaults(command=_reindex)


def _adopt(options: argparse.Namespace) -> int:
    # What it imports takes half a second, which no other command needs to wait for.
    from proxy.app import adopt  # noqa: PLC0415

    config: Config = (
        load(options.config, os.environ) if options.config else DataDirectory(options.data_dir).config_of_running()
    )
    buckets = None if options.all else options.buckets
    try:
        adopted = asyncio.run(adopt(config, buckets, options.mixed, options.account, options.region))
    except ValueError as error:
        raise StartError(str(error)) from error
    for name in adopted:
        _say(f"adopted {name}" + (" (mixed)" if options.mixed else ""))
    if not adopted:
        _say("nothing to adopt: every bucket is on record")
    return 0


def _reindex(options: argparse.Namespace) -> int:
    # As above.
    from proxy.app import reindex_buckets  # noqa: PLC0415
    from proxy.s3.buckets.reindex import Finding, Outcome  # noqa: PLC0415

    config = load(options.config, os.environ) if options.config else DataDirectory(options.data_dir).config_of_running()
    counts: Counter[Outcome] = Counter()

    def tell(finding: Finding) -> None:
        counts[finding.outcome] += 1
        if finding.text:
            version = f" (version {finding.version_id})" if finding.version_id else ""
            name = _printable(f"{finding.bucket}/{finding.key}")
            _say(f"{name}{version}: {finding.outcome.value}: {_printable(finding.text)}")

    asyncio.run(reindex_buckets(config, None if options.all else options.buckets, options.prefix, tell))
    summary = ", ".join(f"{count} {outcome.value}" for outcome in Outcome if (count := counts[outcome]))
    _say(f"{counts.total()} objects" + (f": {summary}" if summary else ""))
    if counts[Outcome.DAMAGED]:
        return 1
    return 3 if counts[Outcome.LOCKED] or counts[Outcome.FAILED] else 0


def _printable(text: str) -> str:
    """Without what a terminal would take for commands."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _say(text: str) -> None:
    print(text, flush=True)
