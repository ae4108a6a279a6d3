"""What every test gets: one thread, no network, an own folder, and skips that say why."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

# Set before anything imports torch, and inherited by every process a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ["NO_COLOR"] = "1"
os.environ.pop("FORCE_COLOR", None)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, with the reason."""
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            reason = pytest.mark.skip(reason="needs a CUDA device; none was found")
            for item in items:
                if item.get_closest_marker("gpu"):
                    item.add_marker(reason)
    if _browser() is None:
        reason = pytest.mark.skip(
            reason=f"needs a browser; none of {', '.join(BROWSERS)} is in PATH"
        )
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(reason)


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, so that a test which writes to the current one leaves no trace."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections to other machines; this one and local sockets stay reachable."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(str(address[0])):
            raise AssertionError(
                f"a test tried to reach {address[0]}:{address[1]}; tests use no network"
            )
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """The address of a PostgreSQL server of our own on loopback."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    if not places:
        pytest.skip("needs PostgreSQL (Debian: apt-get install postgresql)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="sightline-pg"))
    if os.geteuid() == 0:  # the server refuses to run as root
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    password = folder / "password"
    password.write_text("secret\n")
    password.chmod(0o644)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"

    def call(program: str, *arguments: object) -> None:
        command = [*as_user, str(places[-1] / program), *map(str, arguments)]
        # Not captured: the server would inherit the pipes and hold them open.
        with (tmp_path / "postgres.log").open("ab") as log:
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log,
                                  stderr=log, check=False)  # fmt: skip
        assert done.returncode == 0, (tmp_path / "postgres.log").read_text()

    call("initdb", "-D", data, "-U", "someone", "-A", "scram-sha-256", "--pwfile", password, "-N")
    call("pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log", "start")
    try:
        yield f"postgresql://someone:secret@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def browser_page() -> Iterator[Any]:
    """A page of a headless Chromium; `page.problems` lists console errors and failed requests.

    Mark the test with `browser`, open a file with `page.goto(path.as_uri())`.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_browser(), args=["--no-sandbox"])
        page: Any = browser.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("requestfailed", lambda request: page.problems.append(f"failed: {request.url}"))
        page.on(
            "console",
            lambda message: page.problems.append(message.text) if message.type == "error" else None,
        )
        yield page
        browser.close()


def _browser() -> str | None:
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def _is_local(host: str) -> bool:
    return host in ("localhost", "::1", "::") or host.startswith(("127.", "0.0.0.0"))


@pytest.fixture(scope="session")
def write_some_digits(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Sequence[str], int], Path]:
    """A function that writes the first pictures of some digits, a folder for each."""
    from sightline.data.digits import write_digits

    def write(classes: Sequence[str], each: int) -> Path:
        base = tmp_path_factory.mktemp("digits")
        every = write_digits(base / "every")
        for name in classes:
            (base / "some" / name).mkdir(parents=True)
            for file in sorted((every / name).iterdir())[:each]:
                shutil.copy2(file, base / "some" / name)
        return base / "some"

    return write
