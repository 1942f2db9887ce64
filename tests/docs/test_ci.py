"""The pipelines of docs/ci.md: their own lines are run, as GitHub Actions, GitLab CI and Jenkins would run them."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from tests.docs.test_tried import block
from tests.support.deb import write_deb
from tests.support.process import run, without_proxies
from tests.support.server import ServerProcess

pytestmark = pytest.mark.clients

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/ci.md"
NAME = "acme/tools"
ENV = {"ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519", "ENTREPOT_SERVER_DRAIN_WAIT_S": "0"}


def github() -> list[list[str]]:
    """Each step in a shell of its own, as `bash -e`."""
    steps = yaml.safe_load(block(PAGE, "name: publish"))["jobs"]["publish"]["steps"]
    return [["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]] for step in steps if "run" in step]


def gitlab() -> list[list[str]]:
    """All lines in one shell that ends at the first that fails."""
    lines = yaml.safe_load(block(PAGE, "publish:"))["publish"]["script"]
    return [["bash", "-eo", "pipefail", "-c", "\n".join(lines)]]


def jenkins() -> list[list[str]]:
    """The text of `sh`, with `sh -xe`."""
    found = re.search(r"sh '''\n(.*?)'''", block(PAGE, "pipeline {"), re.DOTALL)
    assert found is not None
    return [["sh", "-xe", "-c", textwrap.dedent(found[1])]]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a job finds in its environment: a server with the repository, a token that can push to it alone, the client
    and what it needs as wheels, so that only the first installation fetches anything.
    """
    folder = tmp_path_factory.mktemp("ci")
    wheels = folder / "wheels"
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, ROOT / "packaging/client"])
    lock = ROOT / "packaging/client/requirements.txt"
    run([sys.executable, "-m", "pip", "download", "--quiet", "--dest", wheels, "--requirement", lock], timeout_s=300)
    with (
        ServerProcess(folder / "data", env=ENV) as server,
        httpx.Client(base_url=server.url, auth=(server.admin_token, ""), timeout=60, trust_env=False) as admin,
    ):
        admin.post("/api/v2/repos", json={"name": NAME}).raise_for_status()
        asked = {"name": "ci", "role": "push", "owner": "acme", "repositories": [NAME]}
        token = admin.post("/api/v2/tokens", json=asked).raise_for_status().json()["token"]
        yield {
            "ENTREPOT_URL": server.url,
            "ENTREPOT_TOKEN": token,
            "ENTREPOT_CLIENT": str(next(wheels.glob("entrepot_client-*.whl"))),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PIP_NO_COMPILE": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PATH": f"{Path(sys.executable).resolve().parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
        }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace, which CI systems keep from job to job: what one has built and installed, the next one finds."""
    return tmp_path_factory.mktemp("checkout")


@pytest.mark.parametrize("jobs", [github, gitlab, jenkins], ids=["github", "gitlab", "jenkins"])
def test_a_pipeline_publishes(jobs: Callable[[], list[list[str]]], pipeline: dict[str, str], checkout: Path) -> None:
    """Goal: what the page says works: packages are listed in both distributions, an earlier job's do no harm, the
    token stands in no output and can do nothing else. Method: run the page's own lines in a checkout.
    """
    name = f"from-{jobs.__name__}"
    package = write_deb(checkout, name, "1.0-1")
    (checkout / "build.sh").write_text(f"#!/bin/sh\nmkdir -p dist && cp {package.name} dist/\n")
    (checkout / "build.sh").chmod(0o755)
    for command in jobs():
        done = subprocess.run(
            command, cwd=checkout, env=without_proxies(pipeline), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert pipeline["ENTREPOT_TOKEN"] not in done.stdout + done.stderr
    with httpx.Client(base_url=pipeline["ENTREPOT_URL"], auth=(pipeline["ENTREPOT_TOKEN"], ""), trust_env=False) as ci:
        for codename in ("bookworm", "trixie"):
            listed = ci.get(f"/{NAME}/debian/dists/{codename}/main/binary-amd64/Packages").text
            assert f"Package: {name}\n" in listed
        for method, path in (
            ("DELETE", f"/api/v2/repos/{NAME}"),
            ("POST", "/api/v2/tokens"),
            ("GET", "/api/v2/settings"),
        ):
            assert ci.request(method, path, json={}).status_code == 403
        assert ci.post(f"/api/v2/repos/{NAME}/keys/rotate", json={}).status_code == 403


def test_curl_publishes(pipeline: dict[str, str], tmp_path: Path) -> None:
    """Goal: the line for curl, too."""
    (tmp_path / "dist").mkdir()
    write_deb(tmp_path / "dist", "hello")
    line = block(PAGE, "curl ")
    done = subprocess.run(
        ["sh", "-ec", line],
        cwd=tmp_path,
        env=without_proxies({**os.environ, **pipeline}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
