"""A configuration that does not say which store is behind."""

import subprocess
from pathlib import Path

from tests.e2e.samples import keys_in, new_bucket, s3
from tests.e2e.stores import COMMAND, STORES, Endpoints, Serve


def test_the_store_is_asked_which_it_is(endpoints: Endpoints, tmp_path: Path) -> None:
    store_name = STORES[-1]
    serve = Serve(tmp_path / "serve", endpoints.get(store_name).store, kind="auto")
    try:
        endpoint = serve.start()
        assert f"is taken for: {store_name}" in endpoint.program.output()
        checked = subprocess.run(
            [COMMAND, "check-config", "--config", str(serve.config)], capture_output=True, text=True, check=True
        )
        assert f"(auto: {store_name})" in checked.stdout
        bucket = new_bucket(endpoint)
        s3(endpoint).put_object(Bucket=bucket, Key="k", Body=b"x")
        assert keys_in(endpoint, bucket) == ["k"]
    finally:
        serve.close()
