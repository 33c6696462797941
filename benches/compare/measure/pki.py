"""Certificates of one run: a CA and an ECDSA P-256 server certificate for localhost, the same one for everybody."""

import subprocess

from .settings import BenchError

_EXTENSIONS = """basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=DNS:localhost,IP:127.0.0.1
"""


class Pki:
    """Paths of the PEM files, all in one folder."""

    def __init__(self, folder):
        folder.mkdir()
        self.ca, self.ca_key = folder / "ca.pem", folder / "ca.key"
        self.cert, self.key = folder / "server.pem", folder / "server.key"
        self.cert_and_key = folder / "server-both.pem"
        self._make(folder)

    def _make(self, folder):
        request, extensions = folder / "server.csr", folder / "server.ext"
        extensions.write_text(_EXTENSIONS)
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        _openssl("req", "-x509", *curve, "-keyout", self.ca_key, "-out", self.ca, "-days", "30",
                 "-subj", "/CN=benchmark CA", "-addext", "keyUsage=critical,keyCertSign")
        _openssl("req", *curve, "-keyout", self.key, "-out", request, "-subj", "/CN=localhost")
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key, "-CAcreateserial",
                 "-days", "30", "-extfile", extensions, "-out", self.cert)
        self.cert_and_key.write_text(self.cert.read_text() + self.key.read_text())
        self.key.chmod(0o600)


def _openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    if done.returncode != 0:
        raise BenchError(f"openssl {arguments[0]} failed:\n{done.stdout}")
