"""The Redis libraries that Python programs use."""

import json
import shutil
import uuid
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conftest import StartServer
from tests.system import txredisapi_client
from tests.system.installation import Installation, run
from tests.system.server import Server

pytestmark = pytest.mark.system


def test_txredisapi_appends_and_reads(start_server: StartServer, installation: Installation, tmp_path: Path) -> None:
    server = start_server(PASSWORD="open sesame")
    # Copied, so that the program's folder, which Python searches first, is not in the checkout.
    program = str(shutil.copy(txredisapi_client.__file__, tmp_path))
    printed = run(["python", program, str(server.port), "open sesame"], tmp_path, installation.environment())
    got = json.loads(printed)
    assert json.loads(got["added"][0])["data"] == "x" * 20_000
    assert got["read"] == got["log"] == got["added"]
    assert got["count"] == 1
    assert got["refusal"].startswith("CONCURRENCY stream=")


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_appends_and_reads_in_a_pipeline(server: Server, protocol: int) -> None:
    stream = str(uuid.uuid4())
    with redis.Redis(port=server.port, protocol=protocol) as client:
        with client.pipeline(transaction=False) as pipeline:
            for version in range(10):
                events = [{"type": "t", "data": str(version)}]
                pipeline.execute_command("ADD", json.dumps({"stream": stream, "version": version, "events": events}))
            pipeline.execute_command("GET", json.dumps({"stream": stream}))
            *added, read = pipeline.execute()
        assert [record for reply in added for record in reply] == read
        assert [json.loads(record)["data"] for record in read] == [str(version) for version in range(10)]
        with pytest.raises(redis.ResponseError, match=r"^CONCURRENCY stream="):
            client.execute_command(
                "ADD", json.dumps({"stream": stream, "version": 3, "events": [{"type": "t", "data": ""}]})
            )


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_authenticates(start_server: StartServer, protocol: int) -> None:
    server = start_server(PASSWORD="open sesame")
    with redis.Redis(port=server.port, protocol=protocol, password="open sesame") as client:
        assert client.ping()
    once = Retry(NoBackoff(), 0)
    for password in ("wrong", None):
        client = redis.Redis(port=server.port, protocol=protocol, password=password, retry=once)
        with client, pytest.raises(redis.AuthenticationError):
            client.ping()
