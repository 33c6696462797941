#!/usr/bin/env python3
"""Makes records.zdict, with which boxed records are compressed (docs/audit-format.md).

    src/audit/dictionary/make.py          writes it anew; needs the `zstd` command

It is trained on the skeletons of records as the gate writes them: every endpoint of the built-in profiles, reads, writes and
their intents, refusals, connections, events. Where they have digits that nobody can foresee, a skeleton has a mark. What comes
out is the same each time. A log's boxes can be opened only with the very dictionary that they were made with: once a version of
keygate was released with one, another one gets another number.
"""

import random
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
SAMPLES, SIZE = 20_000, 16 * 1024
HEAD, SIXTEEN, SIX = "\x03", "\x01", "\x02"

draw = random.Random(7)
pick = draw.choice


def endpoints():
    """Method, template and scope of every endpoint of a profile, by profile."""
    for path in sorted((ROOT / "config/profiles").glob("*.toml")):
        profile = tomllib.loads(path.read_text())
        yield path.stem, [(entry["method"], entry["path"], entry["scope"]) for entry in profile["endpoints"]]


PROFILES = dict(endpoints())
UPSTREAMS = ["acme", "shop", "channelengine", "demo", "main", "eu", "production", "upstream"]
INTEGRATIONS = ["webshop", "erp", "pim", "wms", "repricer", "reports", "finance", "stock-sync", "orders", "feed"]
CIPHERS = ["TLS13_AES_128_GCM_SHA256"] * 6 + ["TLS13_AES_256_GCM_SHA384"] * 3 + ["TLS13_CHACHA20_POLY1305_SHA256"]
GROUPS = ["X25519MLKEM768"] * 4 + ["X25519"] * 4 + ["secp256r1"]
REFUSALS = re.findall(r"^\| `([a-z_0-9]+)`", (ROOT / "docs/refusals.md").read_text(), re.MULTILINE)
QUERY = ["page", "statuses", "fromDate", "toDate", "merchantOrderNos", "emailAddresses", "skus", "search", "channelIds", "type"]


def peer():
    return pick(["127.0.0.1", f"10.{draw.randrange(256)}.{draw.randrange(256)}.{draw.randrange(256)}",
                 f"192.168.{draw.randrange(4)}.{draw.randrange(256)}", f"172.17.0.{draw.randrange(256)}"])


def tls(refused=False):
    if refused:
        return '{"offered":["1.2","1.1"],"ja4":"t12d%02d%02d00_%s_%s"}' % (draw.randrange(30), draw.randrange(15), SIX, SIX)
    ja4 = '"t13d%02d%02d%s_%s_%s"' % (draw.randrange(10, 40), draw.randrange(6, 18), pick(["00", "h1", "h2"]), SIX, SIX)
    sni = pick(["gate.internal", "localhost", "gate", "keygate.example.com", "keygate.local"])
    version = '"version":"1.3","cipher":"%s"' % pick(CIPHERS)
    if draw.random() < 0.05:
        version = '"version":"1.2","cipher":"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"'
    return '{%s,"group":"%s","sni":"%s","ja4":%s}' % (version, pick(GROUPS), sni, ja4)


def pairs(names):
    return "[" + ",".join(f'["{name}","{SIXTEEN}"]' for name in names) + "]"


def number(most):
    return draw.randrange(10 ** draw.randrange(1, most + 1))


def call():
    # Most gates stand in front of this one.
    name = "channelengine" if draw.random() < 0.6 else pick(list(PROFILES))
    method, path, scope = pick(PROFILES[name])
    upstream, integration = pick(UPSTREAMS), pick(INTEGRATIONS)
    refused = draw.random() < 0.1
    text = f'{HEAD},"kind":"KIND","integration":"{integration}","proof":"{pick(["header"] * 4 + ["bearer", "query"])}","peer":"{peer()}"'
    text += f',"tls":{tls()},"http":"{pick(["http/1.1"] * 3 + ["h2"])}","method":"{method}","endpoint":"{method} {path}"'
    names = re.findall(r"\{(\w+)\}", path)
    if names:
        text += f',"params":{pairs(names)}'
    if method == "GET" and draw.random() < 0.5:
        text += f',"query":{pairs(draw.sample(QUERY, draw.randrange(1, 4)))}'
    if refused:
        status = pick([400, 401, 403, 403, 403, 404, 413, 429, 429, 502, 503, 504])
        text += f',"verdict":"refused","refusal":"{pick(REFUSALS)}","status":{status},"bytes_in":0,"bytes_out":{number(3)}'
        text += f',"outcome":"complete","micros":{{"decide":{number(2)},"intent":0,"upstream":0,"body":{number(2)}}}}}'
        return text.replace("KIND", "call")
    text += f',"verdict":"allowed","rule":"{scope}"'
    if method not in ("GET", "HEAD") and draw.random() < 0.5:
        return text.replace("KIND", "intent") + f',"upstream":"{upstream}","credential":["{upstream}",{draw.randrange(1, 5)}],"bytes_in":0,"bytes_out":0}}'
    status = pick([200] * 12 + [201, 204, 400, 404, 409, 422, 429, 500, 503])
    text += f',"status":{status},"upstream":"{upstream}","upstream_status":{status},"credential":["{upstream}",{draw.randrange(1, 5)}]'
    if draw.random() < 0.4:
        text += f',"limit_left":{number(3)}'
    text += f',"bytes_in":{number(5) if method not in ("GET", "HEAD") else 0},"bytes_out":{number(6)}'
    if draw.random() < 0.7:
        text += ',"envelope":{"success":%s,"log_id":"%s"' % (pick(["true"] * 9 + ["false"]), SIXTEEN)
        text += pick(["}", ',"request_id":"%s"}' % pick([SIXTEEN, "0HN%s" % draw.randrange(10**8)])])
    text += f',"outcome":"{pick(["complete"] * 20 + ["client-gone", "upstream-cut"])}"'
    intent = number(4) if method not in ("GET", "HEAD") else 0
    text += f',"micros":{{"decide":{number(3)},"intent":{intent},"upstream":{number(6)},"body":{number(4)}}}}}'
    return text.replace("KIND", "call")


def other():
    if draw.random() < 0.5:
        refusal = pick(["tls_version", "tls_cipher", "plain_http", "not_http"])
        return f'{HEAD},"kind":"connection","peer":"{peer()}","tls":{tls(True)},"verdict":"refused","refusal":"{refusal}","bytes_in":0,"bytes_out":0}}'
    code, detail = pick([("started", "keygate 0.1.0 on 0.0.0.0:8443 with 4 workers"), ("stopped", "in good order"),
                         ("reloaded", "integrations added: webshop; keygate.toml has SHA-256 " + SIXTEEN * 2),
                         ("credential-changed", "upstream acme: credential acme version 2")])
    return f'{HEAD},"kind":"gate","bytes_in":0,"bytes_out":0,"event":{{"code":"{code}","detail":"{detail}"}}}}'


def main():
    with tempfile.TemporaryDirectory() as folder:
        for n in range(SAMPLES):
            Path(folder, f"{n:05}").write_text(call() if draw.random() < 0.97 else other())
        target = HERE / "records.zdict"
        command = ["zstd", "--train", "-r", folder, f"--maxdict={SIZE}", "--dictID=1799000001", "-o", str(target), "-f"]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
