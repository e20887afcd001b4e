"""A Slurm cluster of two nodes on this machine: each has a network, a process table and shared memory of its own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.servers import wait_for

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol", "ip", "nsenter", "unshare")
NODES = {"n1": "10.77.0.11", "n2": "10.77.0.12"}
CONTROLLER = "10.77.0.1"
BRIDGE = "echox-slurm"

CONFIG = """
ClusterName=echox
SlurmctldHost={host}({controller})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
KillWait=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SelectType=select/cons_tres
SlurmdParameters=config_overrides
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

NODE = """
mount --bind {folder}/hosts /etc/hosts && mkdir -p {folder}/shm.{name} && mount --bind {folder}/shm.{name} /dev/shm
slurmd -D -N {name} -f {folder}/slurm.conf & wait
"""
"""Program of a node; the shell, its first process, reaps what `ray stop` leaves."""


def missing() -> str:
    """Say why no Slurm can run here; empty if one can."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"{', '.join(absent)} missing: apt-get install slurm-wlm munge iproute2"
    return "" if os.geteuid() == 0 else "networks of nodes need root"


@dataclass(frozen=True)
class Slurm:
    """A running cluster; jobs write their logs into `folder`."""

    folder: Path

    def run(self, *command: str) -> str:
        """Output of a Slurm command."""
        environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        done = subprocess.run(command, env=environment, cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def facts(self, job: str) -> dict[str, str]:
        """Facts of the controller about a job, by its names."""
        words = self.run("scontrol", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def end(self, job: str, seconds: float) -> dict[str, str]:
        """Facts of a job once it has ended."""
        wait_for(f"job {job}", lambda: self.facts(job)["JobState"] in {"COMPLETED", "FAILED", "CANCELLED"}, seconds)
        return self.facts(job)


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[Slurm]:
    """Start controller and nodes, and remove all of it in the end."""
    (folder / "state").mkdir()
    _configure(folder)
    _connect()
    daemons = [_start("munged", "--foreground", "--force", *_munge(folder)), *_daemons(folder)]
    try:
        cluster = Slurm(folder)
        wait_for("two idle nodes", lambda: cluster.run("sinfo", "-h", "-t", "idle", "-o", "%D") == str(len(NODES)))
        yield cluster
    finally:
        for daemon in reversed(daemons):
            daemon.kill()
            daemon.wait()
        _disconnect()


def _configure(folder: Path) -> None:
    host = os.uname().nodename
    nodes = [f"NodeName={name} NodeAddr={address} CPUs=1 RealMemory=2000\n" for name, address in NODES.items()]
    (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, host=host, controller=CONTROLLER) + "".join(nodes))
    names = [("localhost", "127.0.0.1"), (host, CONTROLLER), *NODES.items()]
    (folder / "hosts").write_text("".join(f"{address} {name}\n" for name, address in names))
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)


def _munge(folder: Path) -> list[str]:
    files = {"key-file": "key", "socket": "sock", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    return [f"--{option}={folder}/munge.{ending}" for option, ending in files.items()]


def _daemons(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    wait_for("munge", (folder / "munge.sock").exists)
    yield _start("slurmctld", "-D", "-f", str(folder / "slurm.conf"))
    for name in NODES:
        apart = ("nsenter", f"--net=/run/netns/{BRIDGE}-{name}")
        apart += ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc")
        yield _start(*apart, "bash", "-c", NODE.format(folder=folder, name=name))


def _start(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _connect() -> None:
    """Make a network of the nodes and this machine."""
    _disconnect()
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("addr", "add", f"{CONTROLLER}/24", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    for name, address in NODES.items():
        space = f"{BRIDGE}-{name}"
        _ip("netns", "add", space)
        _ip("link", "add", f"echox-{name}", "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", f"echox-{name}", "master", BRIDGE, "up")
        _ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        _ip("-n", space, "link", "set", "lo", "up")


def _disconnect() -> None:
    for name in NODES:
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "del", f"{BRIDGE}-{name}")
    with suppress(subprocess.CalledProcessError):
        _ip("link", "del", BRIDGE)
