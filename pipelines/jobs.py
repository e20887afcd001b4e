"""Ray jobs: work submitted to a cluster, its log and progress relayed, its result or its failure brought back.

A job is known by its key, a hash of all that its result depends on. Whoever asks for the same work while it still runs
attaches to it: a build that was killed and started again goes on with the job that its first life had started.
"""

import json
import logging
import os
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from pipelines.environment import code_folders, code_revision, environment
from pipelines.errors import UserError
from pipelines.fingerprint import fingerprint
from pipelines.job_log import parse
from storage.errors import NotFound, StorageError
from storage.store import Store

log = logging.getLogger(__name__)
remote = logging.getLogger(f"{__name__}.remote")

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 120.0
"""How long the head of the cluster may be silent."""
SHOWN_LINES = 20
"""Of the log of a job that died without a word."""
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
URL = re.compile(r"https?://[^\s/]+(:\d{1,5})?/?")
ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}


class JobFailed(RuntimeError):  # noqa: N818 - reads as what it says
    """A job failed by no fault of the user; the message holds the traceback of the cluster."""


class JobStopped(RuntimeError):  # noqa: N818
    """Somebody stopped the job."""


@dataclass(frozen=True)
class Job:
    """Work for a cluster.

    Attributes:
        work: a name of `pipelines.job.WORK`.
        store: URI of the store where the result is left.
        folder: in the store, for results.
        arguments: JSON values; equal ones, in equal code, give equal results.
        name: for people.
        metadata: kept by the cluster beside the job, for instance whose it is.
    """

    work: str
    store: str
    folder: str
    arguments: dict[str, Any]
    name: str
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def prefix(self) -> str:
        """Of the ids of all submissions of this work."""
        key = fingerprint(self.work, self.store, self.arguments, code_revision())
        return f"echox-{self.name}-{key[:16]}-"


class Jobs:
    """The job server of a Ray cluster.

    Raises:
        UserError: none answers there.
    """

    def __init__(self, address: str) -> None:
        from ray.job_submission import JobSubmissionClient

        if not URL.fullmatch(address):
            raise UserError(
                f"--ray {address}: the job server of a cluster reads http://HOST:PORT, e.g. http://head:8265"
            )
        for name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
            logging.getLogger(name).setLevel(logging.WARNING)  # each submission would tell of four packages
        if has_token():
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        try:
            self._client = JobSubmissionClient(address)
        except (ConnectionError, RuntimeError) as error:
            raise UserError(f"--ray {address}: no Ray job server answers there ({_short(error)})") from error

    def run(self, job: Job) -> dict[str, Any]:
        """Run a job to its end, or attach to the one that already does this work; stop it when interrupted.

        Its log lines become log records of this process, of the same level, with their `progress`.

        Raises:
            UserError, StorageError: as the job raised it.
            JobFailed: with the cause.
            JobStopped: somebody else stopped it.
        """
        submission = self._running(job)
        if submission is None:
            submission = self._submit(job)
            log.info("submitted Ray job %s", submission)
        else:
            log.info("attached to Ray job %s, which was running already", submission)
        try:
            self._follow(submission)
        except BaseException:  # also Ctrl-C and SIGTERM: nobody would wait for the job any more
            self.stop(submission)
            raise
        return self._result(job, submission)

    def stop(self, submission: str) -> None:
        """Stop a job; no error where it has ended."""
        if self._client.get_job_status(submission) not in ENDED:
            self._client.stop_job(submission)
            log.warning("stopped Ray job %s", submission)

    def stop_all(self, key: str, value: str) -> list[str]:
        """Stop the running jobs whose metadata say so; returns their ids."""
        jobs = [job for job in self._client.list_jobs() if (job.metadata or {}).get(key) == value]
        running = [str(job.submission_id) for job in jobs if job.submission_id and job.status not in ENDED]
        for submission in running:
            self.stop(submission)
        return running

    def _submissions(self, job: Job) -> list[tuple[int, str, str]]:
        """Number, id and status of all submissions of this work."""
        found = [(str(other.submission_id), str(other.status)) for other in self._client.list_jobs()]
        return [
            (int(name.removeprefix(job.prefix)), name, status) for name, status in found if name.startswith(job.prefix)
        ]

    def _running(self, job: Job) -> str | None:
        running = [name for _, name, status in self._submissions(job) if status not in ENDED]
        return running[0] if running else None

    def _submit(self, job: Job) -> str:
        number = max((number for number, *_ in self._submissions(job)), default=0) + 1
        submission = f"{job.prefix}{number}"
        request = {
            "work": job.work,
            "arguments": job.arguments,
            "store": job.store,
            "result": f"{job.folder}/{submission}.json",
            "environment": environment(),
        }
        return self._client.submit_job(
            entrypoint=f"python -m pipelines.job {shlex.quote(json.dumps(request))}",
            submission_id=submission,
            runtime_env={"py_modules": code_folders()},
            metadata=dict(job.metadata),
        )

    def _follow(self, submission: str) -> None:
        """Relay the log until the job has ended."""
        seen, heard = 0, time.monotonic()
        while True:
            try:
                status = self._client.get_job_status(submission)
                text = self._client.get_job_logs(submission)
                heard = time.monotonic()
            except requests.RequestException as error:
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise JobFailed(f"Ray job {submission}: its cluster does not answer any more: {error}") from error
                log.warning("the Ray cluster does not answer (%s); asking again", _short(error))
                time.sleep(POLL_SECONDS)
                continue
            end = len(text) if status in ENDED else text.rfind("\n") + 1
            relay(text[seen:end])
            seen = max(seen, end)
            if status in ENDED:
                return
            time.sleep(POLL_SECONDS)

    def _result(self, job: Job, submission: str) -> dict[str, Any]:
        try:
            outcome = json.loads(Store.open(job.store).get(f"{job.folder}/{submission}.json"))
        except NotFound:
            raise self._died(submission) from None
        if "done" in outcome:
            return outcome["done"]
        if outcome["kind"] == "user":
            raise UserError(outcome["error"])
        if outcome["kind"] == "place":
            raise StorageError(outcome["error"])
        raise JobFailed(f"Ray job {submission} failed: {outcome['error']}\n{outcome['traceback']}")

    def _died(self, submission: str) -> Exception:
        """Why a job left nothing."""
        if self._client.get_job_status(submission) == "STOPPED":
            return JobStopped(f"Ray job {submission} was stopped")
        lines = self._client.get_job_logs(submission).splitlines()[-SHOWN_LINES:]
        message = self._client.get_job_info(submission).message or "it died without a message"
        return JobFailed(f"Ray job {submission} failed: {message}\n" + "\n".join(parse(line).text for line in lines))


def relay(text: str) -> None:
    """Log the lines of a job's log here."""
    for line in filter(str.strip, ANSI.sub("", text).splitlines()):
        told = parse(line)
        remote.log(told.level, "%s", told.text, extra={"progress": told.progress})


def has_token() -> bool:
    """Whether this machine holds a token for Ray clusters; a cluster asks for one unless it was told not to."""
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return True
    return Path("~/.ray/auth_token").expanduser().exists()


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
