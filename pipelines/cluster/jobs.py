"""Ray jobs: submit work to a cluster, relay its log and progress, and return its results or its error.

A job is identified by its key, a hash of everything that its result depends on. A process that asks for work that is
already running attaches to it: a build that was killed and restarted continues with the job that it had started before.
"""

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import requests

from pipelines.cluster.environment import code_folders, code_revision, environment
from pipelines.cluster.job_log import REQUEST, LogLine, parse
from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.ray import prepare
from pipelines.errors import KINDS, UserError

log = logging.getLogger(__name__)
remote = logging.getLogger(f"{__name__}.remote")

POLL_SECONDS = 0.5
LOG_RATE = 1_000_000
"""Bytes of log to request per second, at most: each request returns the whole log, which is long for a long build."""
PATIENCE_SECONDS = 120.0
"""Seconds that the head of the cluster may be silent."""
SHOWN_LINES = 20
"""Log lines shown when a job fails without a message."""
POSITION = "echox-position"
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
URL = re.compile(r"https?://[^\s/]+(:\d{1,5})?/?")
ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}


def is_job_server(ray_address: str | None) -> TypeGuard[str]:
    """Return whether an address is that of a cluster's job server."""
    return ray_address is not None and ray_address.startswith(("http://", "https://"))


class JobFailed(RuntimeError):  # noqa: N818 - reads as what it says
    """A job failed, not by a mistake of the user; the message contains the cluster's traceback."""


class JobStopped(RuntimeError):  # noqa: N818
    """Someone stopped the job."""


@dataclass(frozen=True)
class Job:
    """Work for a cluster.

    Attributes:
        work: a name in `pipelines.build.job.WORK`.
        arguments: JSON values for the work.
        name: name of the job, for people.
        key: JSON values that identify the work; equal keys in equal code are the same work.
        position: start within the work; a running job that started there or earlier includes this one.
        metadata: stored by the cluster with the job, for instance its owner.
    """

    work: str
    arguments: dict[str, Any]
    name: str
    key: Any
    position: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def prefix(self) -> str:
        """Prefix of the ids of all submissions of this work."""
        return f"echox-{self.name}-{fingerprint(self.work, self.key, code_revision())[:16]}-"


class Jobs:
    """The job server of a Ray cluster.

    Raises:
        UserError: the address is malformed, no server answers there, or it refuses the token.
    """

    def __init__(self, address: str) -> None:
        prepare()
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        if not URL.fullmatch(address):
            raise UserError(
                f"--ray {address}: the job server of a cluster reads http://HOST:PORT, e.g. http://head:8265"
            )
        for name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
            logging.getLogger(name).setLevel(logging.WARNING)  # they log four packages at each submission
        try:
            self._client = JobSubmissionClient(address)
        except AuthenticationError as error:
            raise UserError(
                f"--ray {address}: {_short(error)}; bring the cluster's token (`ray get-auth-token` there) to "
                "~/.ray/auth_token here, or name it in RAY_AUTH_TOKEN"
            ) from error
        except (ConnectionError, RuntimeError) as error:
            raise UserError(f"--ray {address}: no Ray job server answers there ({_short(error)})") from error

    def start(self, job: Job) -> "RunningJob":
        """Attach to a running job that does this work, or submit it.

        Raises:
            RuntimeError: the server refuses the submission.
        """
        submitted, running = self._look(job)
        if running is None:
            try:
                running = self._submit(job, submitted + 1)
                log.info("submitted Ray job %s", running)
                return RunningJob(self._client, running)
            except RuntimeError:  # another process may have submitted it in the meantime
                _, running = self._look(job)
                if running is None:
                    raise
        log.info("attached to Ray job %s, which was running already", running)
        return RunningJob(self._client, running)

    def _look(self, job: Job) -> tuple[int, str | None]:
        """Return the number of submissions of this work, and a running submission that includes it, if any."""
        same = [other for other in self._client.list_jobs() if (other.submission_id or "").startswith(job.prefix)]
        fitting = [
            str(other.submission_id)
            for other in same
            if other.status not in ENDED and int((other.metadata or {})[POSITION]) <= job.position
        ]
        return len(same), fitting[0] if fitting else None

    def stop_all(self, key: str, value: str) -> list[str]:
        """Stop the running jobs with this metadata; return their ids."""
        jobs = [job for job in self._client.list_jobs() if (job.metadata or {}).get(key) == value]
        running = [str(job.submission_id) for job in jobs if job.submission_id and job.status not in ENDED]
        for submission in running:
            RunningJob(self._client, submission).stop()
        return running

    def _submit(self, job: Job, number: int) -> str:
        request = {"work": job.work, "arguments": job.arguments, "environment": environment()}
        return self._client.submit_job(
            entrypoint="python -m pipelines.build.job",
            submission_id=f"{job.prefix}{number}",
            runtime_env={"py_modules": code_folders(), "env_vars": {REQUEST: json.dumps(request)}},
            metadata={**job.metadata, POSITION: str(job.position)},
        )


class RunningJob:
    """A submitted job; its log becomes log records of this process, with the same levels and `progress`.

    Attributes:
        submission: its id.
    """

    def __init__(self, client: Any, submission: str) -> None:
        self.submission = submission
        self._client = client
        self._lines = self._follow()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the results of the job as they come; a result goes to the iterator that asks first.

        Raises:
            UserError, Unavailable: raised in the job.
            JobFailed: the job failed or its cluster no longer answers.
            JobStopped: someone stopped it.
        """
        failed: dict[str, Any] | None = None
        for line in self._lines:
            if line.outcome and "done" in line.outcome:
                yield line.outcome["done"]
            elif line.outcome:
                failed = line.outcome
            else:
                remote.log(line.level, "%s", line.text, extra={"progress": line.progress})
        if failed or self._client.get_job_status(self.submission) != "SUCCEEDED":
            raise self._failure(failed)

    def stop(self) -> None:
        """Stop the job; not an error if it has ended."""
        if self._client.get_job_status(self.submission) not in ENDED:
            self._client.stop_job(self.submission)
            log.warning("stopped Ray job %s", self.submission)

    def _follow(self) -> Iterator[LogLine]:
        """Yield the lines of the log until the job has ended."""
        seen, heard = 0, time.monotonic()
        while True:
            try:
                status = self._client.get_job_status(self.submission)
                text = self._client.get_job_logs(self.submission)
                heard = time.monotonic()
            except (requests.RequestException, RuntimeError) as error:  # of Ray's client: the server is busy
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    message = f"Ray job {self.submission}: its cluster no longer answers: {error}"
                    raise JobFailed(message) from error
                log.warning("the Ray cluster does not answer (%s); asking again", _short(error))
                time.sleep(POLL_SECONDS)
                continue
            end = len(text) if status in ENDED else text.rfind("\n") + 1
            yield from map(parse, filter(str.strip, ANSI.sub("", text[seen:end]).splitlines()))
            seen = max(seen, end)
            if status in ENDED:
                return
            time.sleep(max(POLL_SECONDS, len(text) / LOG_RATE))

    def _failure(self, failed: Mapping[str, str] | None) -> Exception:
        """Return the error of a job that ended without success."""
        if failed is None:
            return self._death()
        if failed["kind"] in KINDS:
            return KINDS[failed["kind"]](failed["error"])
        return JobFailed(f"Ray job {self.submission} failed: {failed['error']}\n{failed['traceback']}")

    def _death(self) -> Exception:
        """Return the error of a job that ended without reporting one."""
        if self._client.get_job_status(self.submission) == "STOPPED":
            return JobStopped(f"Ray job {self.submission} was stopped")
        lines = self._client.get_job_logs(self.submission).splitlines()[-SHOWN_LINES:]
        message = self._client.get_job_info(self.submission).message or "it died without a message"
        return JobFailed(
            f"Ray job {self.submission} failed: {message}\n" + "\n".join(parse(line).text for line in lines)
        )


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
