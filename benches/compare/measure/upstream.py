"""The upstream that every proxy calls: an nginx with canned replies on the load core."""

from .peers import render
from .process import Process, claim_port
from .settings import LARGE_BYTES, large_body, small_body


def start(folder, pki, port, core):
    """Starts it and returns the process."""
    claim_port(port)
    folder.mkdir()
    static = folder / "static"
    static.mkdir()
    (static / "1").write_text(large_body())
    static.chmod(0o755)
    assert (static / "1").stat().st_size == LARGE_BYTES
    config = render("upstream.conf", folder, pki, UPSTREAM_PORT=port, SMALL_BODY=small_body())
    process = Process("the upstream", ["nginx", "-p", folder, "-c", config, "-g", "daemon off; user root;"], core,
                      folder / "upstream.log")
    process.wait_for_port(port)
    return process
