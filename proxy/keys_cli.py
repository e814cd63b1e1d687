"""The commands ``keys`` and ``root-key``: arguments in, exit code and lines for a person out.

What does the work takes half a second to load, so that is left to the commands that need it.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.config import load
from proxy.development import DataDirectory

if TYPE_CHECKING:
    from proxy.key_commands import Files

ROOT_KEY_ROTATE = """\
Seals the whole key store anew under another root key, while the endpoint serves: it follows by itself. What was
interrupted, in whatever way, is taken up by running the same command again. Keys, aliases and ciphertexts stay as
they are.

When it is done, make the new root key the configured one: put it into root_key_file's place (or into
SSE_KMS_PROXY_ROOT_KEY, and restart), and run the command once more. Then the former root key opens nothing any more,
but for backups from before. Instead of from a file, the new root key may come from SSE_KMS_PROXY_NEW_ROOT_KEY.

examples:
  (umask 077; openssl rand -base64 32 > new.key)
  sse-kms-proxy root-key rotate --config proxy.toml --new-root-key-file new.key
  mv new.key root.key
  sse-kms-proxy root-key rotate --config proxy.toml
"""

ROOT_KEY_STATUS = """\
Opens every sealed record of the key store, and says under which root keys they are and whether any other than the
configured one is still needed. It changes nothing.

Exit code: 0 the configured root key opens everything and no other one anything, 1 something else.
"""

KEYS_BACKUP = """\
Writes the key store and the gateway's state into one new file of mode 0600, as they are at this moment; the endpoint
may go on serving. Key material in it stays sealed, so it is worth nothing without the root key, which is not in it:
keep both, and keep them apart.

example:
  sse-kms-proxy keys backup --config proxy.toml backups/2026-11-23.backup
"""

KEYS_RESTORE = """\
Puts the key store and the gateway's state of a backup in place, after it has checked every byte of it and that the
configured root key opens all of it. Nothing may serve meanwhile. Where there is a store already, it is refused, or
with --force kept beside the restored one under another name.

example:
  sse-kms-proxy keys restore --config proxy.toml backups/2026-11-23.backup
"""


def add_keys(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    backing_up = _add_key_command(commands, "backup", "write a backup, while serving or not", KEYS_BACKUP)
    backing_up.add_argument("file", type=Path, metavar="OUT", help="a file that is not there yet")
    backing_up.set_defaults(command=_back_up)
    restoring = _add_key_command(commands, "restore", "put a backup in place", KEYS_RESTORE)
    restoring.add_argument("file", type=Path, metavar="IN", help="what `keys backup` wrote")
    restoring.add_argument("--force", action="store_true", help="move what is there aside")
    restoring.set_defaults(command=_restore)


def add_root_key(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    rotating = _add_key_command(commands, "rotate", "seal everything anew under another root key", ROOT_KEY_ROTATE)
    rotating.add_argument("--new-root-key-file", type=Path, metavar="FILE", help="base64 of 32 bytes, mode 0600")
    rotating.set_defaults(command=_rotate_root_key)
    checking = _add_key_command(commands, "status", "say which root keys are needed", ROOT_KEY_STATUS)
    checking.set_defaults(command=_root_key_status)


def _add_key_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str, description: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", type=Path, metavar="FILE")
    where.add_argument("--data-dir", type=Path, metavar="DIR", help="that of `sse-kms-proxy dev`, running or not")
    return parser


def _key_files(options: argparse.Namespace) -> "Files":
    from proxy.key_commands import Files  # noqa: PLC0415

    if options.config:
        config = load(options.config, os.environ)
    else:
        config = DataDirectory(options.data_dir).config_of_stopped()
    return Files(config.keys, config.state.database)


def _rotate_root_key(options: argparse.Namespace) -> int:
    from proxy import key_commands  # noqa: PLC0415

    done = asyncio.run(key_commands.rotate_root_key(_key_files(options).keys, options.new_root_key_file, _progress))
    if sys.stderr.isatty() and done.resealed:
        sys.stderr.write("\r")
    _say(f"sealed {done.resealed} records anew; all {done.records} open under the root key {done.current} alone")
    if done.finished:
        _say("it is the configured one, and no other root key opens anything")
        return 0
    _say(f"the former root key, {done.former}, is still the configured one: put the new one in its place,")
    _say("then run  sse-kms-proxy root-key rotate  once more, without --new-root-key-file")
    return 0


def _progress(done: int) -> None:
    if sys.stderr.isatty() and done:
        sys.stderr.write(f"\r{done} records sealed anew")
        sys.stderr.flush()


def _root_key_status(options: argparse.Namespace) -> int:
    from proxy import key_commands  # noqa: PLC0415

    found = asyncio.run(key_commands.root_key_status(_key_files(options).keys))
    _say(f"configured: {found.configured}; current: {found.current}, version {found.version}")
    for id, count in sorted(found.sealed.items()):
        _say(f"{count} records are sealed under {id or 'a root key that they do not name'}")
    for name in found.damaged:
        _say(f"no root key at hand opens {name}")
    if found.is_sufficient:
        _say("the configured root key opens everything; no other one is needed")
        return 0
    _say("a root key rotation is not finished: run  sse-kms-proxy root-key rotate" if not found.damaged else "damaged")
    return 1


def _back_up(options: argparse.Namespace) -> int:
    from proxy import key_commands  # noqa: PLC0415

    manifest = asyncio.run(key_commands.back_up(_key_files(options), options.file))
    sizes = ", ".join(f"{name} {size} bytes" for name, (size, _) in manifest.files.items())
    _say(f"{options.file}: {sizes}; it opens with the root key {manifest.root_key}, which is not in it")
    return 0


def _restore(options: argparse.Namespace) -> int:
    from proxy import key_commands  # noqa: PLC0415

    done = asyncio.run(key_commands.restore(_key_files(options), options.file, force=options.force))
    _say(f"restored what was backed up on {done.manifest.created:%Y-%m-%d %H:%M:%S} UTC; the root key opens all")
    _say(f"{done.records} sealed records")
    for path in done.aside:
        _say(f"what was there before is kept as {path}")
    return 0


def _say(text: str) -> None:
    print(text, flush=True)
