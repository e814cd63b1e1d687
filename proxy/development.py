"""The folder of a development endpoint: its lock, root key, credentials and settings, made when they are missing."""

import base64
import fcntl
import json
import os
import secrets
import shlex
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from proxy.aws.credentials import AccessKey, Caller
from proxy.config import (
    AuditSettings,
    Config,
    Listen,
    QuotaSettings,
    StartError,
    StateSettings,
    UpstreamSettings,
    is_loopback,
)
from proxy.embedded_store import StoreFolder
from proxy.keys_reader import KeysSettings
from proxy.kms.root_keys import file as root_key_file
from proxy.principals_reader import user_id_of
from proxy.sts.principals import ADMINISTRATOR_ACCESS, MAX_SESSION_DURATION, Role

REGION: Final = "ap-northeast-1"
_LOCK_SECONDS = 5.0


@dataclass(frozen=True)
class Credentials:
    """Who there is on a development endpoint, made at its first start."""

    account: str
    admin_access_key_id: str
    admin_secret_access_key: str = field(repr=False)
    app_access_key_id: str
    app_secret_access_key: str = field(repr=False)
    """The user ``app`` has no policy: it may do what resource policies and grants give it."""
    store_access_key_id: str
    store_secret_access_key: str = field(repr=False)
    """What the proxy signs its requests to the embedded store with."""

    @classmethod
    def generate(cls) -> Self:
        return cls(
            account=str(secrets.randbelow(9 * 10**11) + 10**11),
            admin_access_key_id=_access_key_id(),
            admin_secret_access_key=secrets.token_urlsafe(30),
            app_access_key_id=_access_key_id(),
            app_secret_access_key=secrets.token_urlsafe(30),
            store_access_key_id=_access_key_id(),
            store_secret_access_key=secrets.token_urlsafe(30),
        )

    def users(self) -> tuple[AccessKey, ...]:
        return (
            self._user("admin", self.admin_access_key_id, self.admin_secret_access_key, (ADMINISTRATOR_ACCESS,)),
            self._user("app", self.app_access_key_id, self.app_secret_access_key, ()),
        )

    def roles(self) -> tuple[Role, ...]:
        """``admin`` may do everything; whom its account's policies allow sts:AssumeRole may assume it."""
        principal = {"AWS": f"arn:aws:iam::{self.account}:root"}
        trust = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}],
        }
        return (Role(self.account, "admin", trust, (ADMINISTRATOR_ACCESS,), MAX_SESSION_DURATION),)

    def _user(self, name: str, id: str, secret: str, policies: tuple[Mapping[str, Any], ...]) -> AccessKey:
        arn = f"arn:aws:iam::{self.account}:user/{name}"
        return AccessKey(id, secret, Caller(self.account, arn, user_id_of(arn, self.account), id, policies))


class DataDirectory:
    """The folder that ``dev`` keeps everything in; nobody else may look inside."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @property
    def store(self) -> StoreFolder:
        return StoreFolder(self.path / "store")

    @property
    def tls(self) -> Path:
        return self.path / "tls"

    @property
    def root_key(self) -> Path:
        return self.path / "root.key"

    @property
    def keys_database(self) -> Path:
        return self.path / "keys.db"

    @property
    def env(self) -> Path:
        """Variables to source, there while the endpoint is ready."""
        return self.path / "env"

    def prepare(self) -> Credentials:
        """Makes what is missing. To be called with the lock held.

        Raises:
            StartError: the root key is missing although there are keys that it sealed.
            RootKeyUnusable: the root key can be read by others, or is none.
        """
        self.env.unlink(missing_ok=True)
        if self.keys_database.exists() and not self.root_key.exists():
            raise StartError(f"{self.root_key} is missing: it is the root key that sealed {self.keys_database}")
        root_key_file.create(self.root_key, secrets.token_bytes)
        with suppress(FileNotFoundError):
            return self.credentials()
        credentials = Credentials.generate()
        write_private(self._credentials, json.dumps(asdict(credentials), indent=2) + "\n")
        return credentials

    def credentials(self) -> Credentials:
        """Raises FileNotFoundError before the first start, and StartError when the file is spoilt."""
        try:
            return Credentials(**json.loads(self._credentials.read_text(encoding="ascii")))
        except (ValueError, TypeError) as error:
            raise StartError(f"{self._credentials} is spoilt; remove it to have new credentials made") from error

    def lock(self) -> "DirectoryLock":
        """Makes the folder if it is missing and takes its lock.

        Raises:
            StartError: another endpoint uses the folder, or it can't be made.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            return DirectoryLock(self.path)
        except OSError as error:
            raise StartError(f"{self.path} cannot be used: {error.strerror}") from error

    def config(self, credentials: Credentials, store_url: str, listen: Listen) -> Config:
        return Config(
            listen=listen,
            upstream=UpstreamSettings(
                url=store_url,
                access_key_id=credentials.store_access_key_id,
                secret_access_key=credentials.store_secret_access_key,
                region=REGION,
                store="seaweedfs",
            ),
            keys=KeysSettings(database=self.keys_database, root_key_file=self.root_key),
            state=StateSettings(database=self.path / "state.db"),
            users=credentials.users(),
            roles=credentials.roles(),
            # Clients' own test suites make keys in bursts.
            quotas=QuotaSettings(management=False),
            audit=AuditSettings(self.path / "audit"),
        )

    def config_of_running(self) -> Config:
        """The settings of the endpoint that runs on this folder now, for commands that work beside it.

        Raises:
            StartError: none is running.
        """
        url = self.store.url() if self.env.exists() else None
        if url is None:
            raise StartError(f"no development endpoint is running on {self.path}; start it first")
        return self.config(self.credentials(), url, Listen())

    def config_of_stopped(self) -> Config:
        """The settings of an endpoint on this folder that need not be running, for commands that leave its store alone.

        Raises:
            StartError: there was none yet.
        """
        try:
            return self.config(self.credentials(), "http://127.0.0.1", Listen())
        except FileNotFoundError:
            raise StartError(f"there is no development endpoint in {self.path}") from None

    def write_env(self, variables: Mapping[str, str]) -> None:
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
        write_private(self.env, "".join(lines))

    @property
    def _credentials(self) -> Path:
        return self.path / "credentials.json"


class DirectoryLock:
    """An exclusive lock on a folder, held until ``release`` or until all processes that inherited it have ended."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "lock").open("a+", encoding="ascii")
        deadline = time.monotonic() + _LOCK_SECONDS
        while not self._try():
            holder = self._holder()
            # The store of an endpoint that was killed goes with it, but takes a moment.
            if holder is None or _is_alive(holder) or time.monotonic() > deadline:
                self._file.close()
                raise StartError(f"{folder} is in use by another endpoint" + (f" (process {holder})" if holder else ""))
            time.sleep(0.05)
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()

    def release(self) -> None:
        self._file.close()

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _holder(self) -> int | None:
        self._file.seek(0)
        text = self._file.read()
        return int(text) if text.isdecimal() else None


def variables(url: str, credentials: Credentials, ca_bundle: Path | None) -> dict[str, str]:
    """What a client needs in its environment: for the administrator, and prefixed with ``APP_`` for the other user."""

    def one(access_key_id: str, secret_access_key: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": access_key_id,
            "AWS_SECRET_ACCESS_KEY": secret_access_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCOUNT_ID": credentials.account,
            **({"AWS_CA_BUNDLE": str(ca_bundle)} if ca_bundle else {}),
        }

    app = one(credentials.app_access_key_id, credentials.app_secret_access_key)
    return {
        **one(credentials.admin_access_key_id, credentials.admin_secret_access_key),
        **{f"APP_{name}": value for name, value in app.items()},
    }


def endpoint_url(host: str, port: int, *, tls: bool) -> str:
    """Where a client on this machine finds an endpoint that listens on ``host``."""
    if host in {"", "0.0.0.0", "::"} or (is_loopback(host) and ":" not in host):  # noqa: S104 - compared, not bound
        # An address rather than "localhost": with a name, SDKs would put buckets before it (bucket.localhost).
        host = host if host.startswith("127.") else "127.0.0.1"
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def write_private(path: Path, text: str) -> None:
    """Writes a whole file that only its owner can read, replacing one that is there."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as output:
        output.write(text)
        output.flush()
        os.fsync(output.fileno())
    new.replace(path)


def _access_key_id() -> str:
    return "AKIA" + base64.b32encode(secrets.token_bytes(10)).decode()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
