"""The application's own metrics: files of prometheus_client that all workers share.

prometheus_client writes one set of files for each pid, so they grow with each worker that is
replaced, and counters fall if somebody deletes files. Here each worker takes the first free slot in
place of its pid: the files stay as few as workers ever ran at once, and counters go on where the
last worker of the slot stopped. `MultiProcessValue` has the parameter for it.
"""

import fcntl
import glob
import importlib.util
import itertools
import os
import shutil

from docker_flask.shared.log import log

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# Free bytes below which nothing is shared: prometheus_client maps files with holes into memory,
# and the kernel kills a process that writes into a hole for which the disk has no block.
ROOM = 1 << 20


class Slots:
    """The slots of this process, and of the process that forked it; folder: of the files."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names: dict[int, str] = {}

    def take(self) -> None:
        """Take the first free slot for this process; its lock ends with it, however it ends."""
        for number in itertools.count():
            name = f"slot{number}"
            lock = open(f"{self._folder}/{name}", "ab")  # noqa: SIM115 (open while this lives)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            # A process that the application forks must not keep the slot of a worker that ended.
            os.register_at_fork(after_in_child=lock.close)
            self._names[os.getpid()] = name
            # What a worker that ended said of its state.
            for file in glob.glob(f"{self._folder}/gauge_live*_{name}.db"):
                os.unlink(file)
            return

    def name(self) -> int | str:
        """The slot of a worker; processes that the application forks keep their pids."""
        pid = os.getpid()
        return self._names.get(pid, pid)


def share(folder: str) -> Slots | None:
    """Share metrics in this folder, if the application has prometheus_client; before its import.

    Returns None without it, if the user has set a folder, and if the folder can't be used.
    """
    if not folder or os.environ.get(VARIABLE) or not importlib.util.find_spec("prometheus_client"):
        return None
    slots = Slots(folder)
    try:
        if shutil.disk_usage(os.path.dirname(folder)).free < ROOM:
            raise OSError(f"less than 1 MB is free for {folder}")
        os.makedirs(folder, exist_ok=True)
        slots.take()
    except OSError as error:  # the application serves without them
        log(f"metrics of the application are missing in /metrics: {error}")
        return None
    os.environ[VARIABLE] = folder
    import prometheus_client.values

    prometheus_client.values.ValueClass = prometheus_client.values.MultiProcessValue(slots.name)
    return slots
