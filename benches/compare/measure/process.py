"""Starting, stopping and reading processes: CPU time and memory of a process tree from /proc, by pid only."""

import os
import re
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

from .settings import BenchError

TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
_running = []


class Process:
    """A child pinned to one core. Its output goes to `log`."""

    def __init__(self, name, argv, core, log, cwd=None, env=None):
        self.name, self.log = name, Path(log)
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(
                ["taskset", "-c", str(core), *map(str, argv)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                cwd=cwd, env=env, start_new_session=True,
            )
        self.pid = self.popen.pid
        _running.append(self)

    def stop(self):
        """Asks the process to end; whatever of its tree is left after 10 s is killed, pid by pid."""
        members = [(pid, _start_time(pid)) for pid in tree(self.pid)]
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        for pid, started in members:
            if pid != self.pid and _start_time(pid) == started is not None:
                _kill(pid)
        if self in _running:
            _running.remove(self)

    def tail(self, lines=15):
        """The end of its output, for error messages."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def wait_for_port(self, port, seconds=15):
        """Waits until something of this process listens; fails with the process's own words."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.popen.poll() is not None:
                raise BenchError(f"{self.name} ended with code {self.popen.returncode}:\n{self.tail()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        raise BenchError(f"{self.name} does not listen on port {port} after {seconds} s:\n{self.tail()}")


def stop_all():
    """Ends everything this run started, newest first."""
    for process in list(reversed(_running)):
        process.stop()


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _stat(pid):
    """The fields of /proc/PID/stat after the command name (which may hold blanks), or None when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _start_time(pid):
    fields = _stat(pid)
    return fields[19] if fields else None


def tree(root):
    """`root` and all its descendants that still run."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(entry)):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue.extend(children.get(pid, []))
    return found


def cpu_us(root):
    """User plus system time of the tree so far, all threads, in microseconds (the kernel counts in ticks of 10 ms)."""
    stats = [fields for pid in tree(root) if (fields := _stat(pid))]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) * TICK_US


def memory_kib(root):
    """(RSS, PSS) of the tree in KiB."""
    rss = pss = 0
    for pid in tree(root):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        rss += int(re.search(r"^Rss:\s+(\d+)", text, re.M)[1])
        pss += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])
    return rss, pss


def core_us(core):
    """(busy, stolen) time of one core so far, in microseconds."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
            return (user + nice + system + irq + softirq) * TICK_US, steal * TICK_US
    raise BenchError(f"core {core} is not there; the benchmark needs two")


def softirq_thread(core):
    """The pid of the kernel thread that takes over a core's network work under load, or None."""
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and Path(f"/proc/{entry}/comm").read_text() == f"ksoftirqd/{core}\n":
                return int(entry)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


def own_us():
    """CPU time of the benchmark itself and of the load tools that have ended, in microseconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return int(sum(u.ru_utime + u.ru_stime for u in used) * 1e6)


def wait_for_quiet(cores, limit=0.1, patience=60):
    """Waits until all cores together were busy for less than `limit` of half a second, at most `patience` seconds."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before = sum(core_us(core)[0] for core in cores)
        time.sleep(0.5)
        if sum(core_us(core)[0] for core in cores) - before < limit * 500_000:
            return


def established(port):
    """Connections to `port` on loopback that are open on the server's side."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(1 for f in map(str.split, lines) if f[1].endswith(f":{port:04X}") and f[3] == "01")


def claim_port(port):
    """Fails clearly when `port` is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BenchError(f"port {port} is taken ({error.strerror}); choose another range with --port") from error
