"""Makes the pictures of docs/cluster.md: a build of the sample in the UI of a real Prefect server.

    uv run python docs/screenshots.py [--chromium /usr/bin/chromium]

Needs a Chromium on the machine (Debian: `apt-get install chromium`). Server, database and corpus live in a temporary
folder.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SECONDS_TO_START = 90
SECONDS_TO_RENDER = 4
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZE = {"width": 1280, "height": 860}


def main() -> None:
    """Start the server, build, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser")
    options = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="echox-") as folder, prefect_server(Path(folder)) as url:
        command = [sys.executable, "-c", "from flows.cli import main; main()"]
        config = str(ROOT / "examples" / "sample.yaml")
        subprocess.run(
            [*command, "build", config, "--store", f"{folder}/corpus"], check=True, stdout=subprocess.DEVNULL
        )
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=options.chromium, args=list(FLAGS))
            page = browser.new_page(viewport=SIZE, device_scale_factor=1, color_scheme="light")  # pyright: ignore[reportArgumentType]
            run, artifact = last_run()
            picture(page, f"{url}/runs/flow-run/{run}", "prefect-run")
            picture(page, f"{url}/artifacts/artifact/{artifact}", "prefect-compression")
            browser.close()


@contextmanager
def prefect_server(folder: Path) -> Iterator[str]:
    """URL of a server; commands that are started meanwhile report to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    os.environ |= {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + SECONDS_TO_START
        while not answers(f"{url}/api/health"):
            if time.monotonic() > deadline:
                raise TimeoutError("the Prefect server does not start")
            time.sleep(0.2)
        yield url
        server.terminate()


def answers(url: str) -> bool:
    """Whether a server answers."""
    try:
        urlopen(url, timeout=5).close()  # noqa: S310 - loopback
    except (URLError, OSError):
        return False
    return True


def build_sample(store: Path) -> None:
    """The build of the sample, as a run of the server."""
    command = [sys.executable, "-c", "from flows.cli import main; main()", "build", ROOT / "examples" / "sample.yaml"]
    subprocess.run([*command, "--store", store], check=True, stdout=subprocess.DEVNULL)


def last_run() -> tuple[str, str]:
    """Ids of the run and of its artifact `compression`."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs()
        (artifact,) = (artifact for artifact in client.read_artifacts() if artifact.key == "compression")
    return str(run.id), str(artifact.id)


def picture(page: Page, url: str, name: str) -> None:
    """A picture of a page, once it has drawn itself."""
    page.goto(url, wait_until="networkidle")
    page.wait_for_timeout(1000 * SECONDS_TO_RENDER)
    page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
