"""The data directory of a development endpoint."""

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config import Listen, StartError
from proxy.development import Credentials, DataDirectory, endpoint_url, variables, write_private


def test_credentials_are_made_once(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.lock().release()
    first = directory.prepare()
    assert directory.prepare() == directory.credentials() == first
    assert len({first.admin_access_key_id, first.app_access_key_id, first.store_access_key_id}) == 3
    assert all(len(text) == 40 for text in (first.admin_secret_access_key, first.app_secret_access_key))
    assert first.admin_secret_access_key not in repr(first)


def test_the_second_user_has_no_rights() -> None:
    admin, app = Credentials.generate().users()
    assert admin.caller.arn.endswith(":user/admin")
    assert len(admin.caller.policies) == 1
    assert app.caller.arn.endswith(":user/app")
    assert app.caller.policies == ()
    assert admin.caller.account == app.caller.account


def test_spoilt_credentials_are_named(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    (tmp_path / "credentials.json").write_text('{"account": "1"}')
    with pytest.raises(StartError, match=r"credentials\.json is spoilt"):
        directory.prepare()


def test_its_settings_name_its_files(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    credentials = directory.prepare()
    config = directory.config(credentials, "http://127.0.0.1:7", Listen())
    assert config.keys.root_key_file == tmp_path / "root.key"
    assert config.upstream.store == "seaweedfs"
    assert config.upstream.access_key_id == credentials.store_access_key_id
    assert [user.id for user in config.users] == [credentials.admin_access_key_id, credentials.app_access_key_id]


def test_commands_beside_it_need_it_running(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.prepare()
    with pytest.raises(StartError, match="no development endpoint is running"):
        directory.config_of_running()


def test_a_lock_is_exclusive_until_it_is_released(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    lock = directory.lock()
    with pytest.raises(StartError, match=f"is in use by another endpoint .process {os.getpid()}."):
        directory.lock()
    lock.release()
    directory.lock().release()


def test_a_lock_whose_holder_died_is_waited_for(tmp_path: Path) -> None:
    """The store inherits the lock and may outlive a killed endpoint by a moment."""
    script = (
        "import subprocess, sys\nfrom pathlib import Path\nfrom proxy.development import DataDirectory\n"
        "lock = DataDirectory(Path(sys.argv[1])).lock()\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1)'], pass_fds=[lock.fileno()])\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    DataDirectory(tmp_path).lock().release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=f"{tmp_path}/file/data cannot be used: Not a directory"):
        DataDirectory(tmp_path / "file" / "data").lock()


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    file.chmod(0o644)
    write_private(file, "after")
    assert file.read_text() == "after"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_values_that_a_shell_would_split_are_quoted(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.write_env({"PLAIN": "http://127.0.0.1:1/", "SPACED": "a b'c"})
    assert (
        directory.env.read_text()
        == f"PLAIN=http://127.0.0.1:1/\nSPACED={shlex.quote(chr(97) + ' b' + chr(39) + 'c')}\n"
    )


def test_clients_are_told_of_the_authority_over_tls_only() -> None:
    credentials = Credentials.generate()
    plain = variables("http://127.0.0.1:1", credentials, None)
    secure = variables("https://127.0.0.1:1", credentials, Path("/ca.pem"))
    assert {name for name in secure if name not in plain} == {"AWS_CA_BUNDLE", "APP_AWS_CA_BUNDLE"}
    assert secure["APP_AWS_CA_BUNDLE"] == "/ca.pem"
    assert json.dumps(plain).count(credentials.account) == 2


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9"),
        ("127.0.0.2", "http://127.0.0.2:9"),
        ("localhost", "http://127.0.0.1:9"),
        ("0.0.0.0", "http://127.0.0.1:9"),
        ("::", "http://127.0.0.1:9"),
        ("::1", "http://[::1]:9"),
        ("build.internal", "http://build.internal:9"),
    ],
)
def test_clients_are_given_an_address_where_there_is_one(host: str, url: str) -> None:
    assert endpoint_url(host, 9, tls=False) == url
