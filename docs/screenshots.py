"""Make the pictures of docs/cluster.md: a build of the sample in the UI of a real Prefect server.

    uv run python docs/screenshots.py [--chromium /usr/bin/chromium]

Needs Chromium (Debian: `apt-get install chromium`). Server, database and corpus are in a temporary folder.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.cluster.servers import ENVIRONMENT, PrefectServer  # noqa: E402

IMAGES = ROOT / "docs" / "images"
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
    """Start the server, build the sample, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="path of the browser")
    options = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="echox-") as folder, prefect_server(Path(folder)) as url:
        build_sample(Path(folder, "corpus"))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=options.chromium, args=list(FLAGS))
            page = browser.new_page(viewport=SIZE, device_scale_factor=1, color_scheme="light")  # pyright: ignore[reportArgumentType]
            run, artifact = last_run()
            picture(page, f"{url}/runs/flow-run/{run}", "prefect-run")
            picture(page, f"{url}/artifacts/artifact/{artifact}", "prefect-compression")
            browser.close()


@contextmanager
def prefect_server(folder: Path) -> Iterator[str]:
    """Yield the URL of a server. Commands that are started meanwhile report to it."""
    server = PrefectServer(folder / "prefect", folder / "prefect.log")
    os.environ |= ENVIRONMENT | {"PREFECT_HOME": str(server.home), "PREFECT_API_URL": server.api}
    server.start()
    server.ready()
    yield server.api.removesuffix("/api")
    server.kill()


def build_sample(store: Path) -> None:
    """Build the sample as a run of the server."""
    command = [sys.executable, "-c", "from flows.cli import main; main()", "build", ROOT / "examples" / "sample.yaml"]
    subprocess.run([*command, "--store", store], check=True, stdout=subprocess.DEVNULL)


def last_run() -> tuple[str, str]:
    """Return the ids of the run and of its artifact `compression`."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs()
        (artifact,) = (artifact for artifact in client.read_artifacts() if artifact.key == "compression")
    return str(run.id), str(artifact.id)


def picture(page: Page, url: str, name: str) -> None:
    """Take a picture of a page once it is rendered."""
    page.goto(url, wait_until="networkidle")
    page.wait_for_timeout(1000 * SECONDS_TO_RENDER)
    page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
