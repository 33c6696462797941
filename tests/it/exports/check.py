"""Reads an export back with the tools that others read it with: DuckDB, and the published schemas of OCSF and ECS.

    check.py parquet FOLDER    prints one JSON object: rows, numbers and days as DuckDB has them
    check.py csv FILE          the same of a CSV file
    check.py ocsf FILE         every event must be valid (the package `ocsf-emitter` has the schema's classes as published)
    check.py ecs FILE FIELDS   every field must be one of the published list, or below `keygate.`
"""

import csv
import json
import sys


def parquet(folder):
    import duckdb

    table = f"read_parquet('{folder}/*/*.parquet', hive_partitioning = true)"
    ask = lambda what: duckdb.sql(f"select {what} from {table}").fetchall()
    columns = {name: str(kind) for name, kind, *_ in duckdb.sql(f"describe select * from {table}").fetchall()}
    rows = duckdb.sql(f"select seq, id, status, endpoint, entry, strftime(time at time zone 'UTC', '%Y-%m-%d') = day::varchar from {table} order by seq")
    return {
        "count": ask("count(*)")[0][0],
        "first": ask("min(seq)")[0][0],
        "last": ask("max(seq)")[0][0],
        "status": dict(duckdb.sql(f"select status::varchar, count(*) from {table} where kind = 'call' group by 1").fetchall()),
        "columns": columns,
        "rows": [list(row) for row in rows.fetchall()],
    }


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def ocsf(path):
    from ocsf_emitter import validate
    from ocsf_emitter._models import ApiActivity

    known = set(ApiActivity.model_fields)
    count = 0
    for line in open(path, encoding="utf-8"):
        event = json.loads(line)
        strange = set(event) - known
        assert not strange, f"not in the class: {strange}"
        model = ApiActivity.model_validate(event)
        validate(model)
        for name in ["api", "actor", "src_endpoint", "http_request", "http_response", "metadata"]:
            part = getattr(model, name)
            strange = set(event.get(name) or {}) - set(type(part).model_fields if part else {})
            assert not strange, f"not in `{name}`: {strange}"
        # The schema's constraint "at least one", which the models do not have.
        assert {"process", "user", "session", "app_name", "app_uid"} & set(event["actor"])
        assert {"ip", "uid", "name", "hostname"} & set(event["src_endpoint"])
        count += 1
    assert count, "there is no event"
    return {"count": count}


def flat(value, path=""):
    for name, inner in value.items():
        here = f"{path}{name}"
        if isinstance(inner, dict):
            yield from flat(inner, here + ".")
        else:
            yield here, inner


def is_of(kind, value):
    if kind in ("long",):
        return isinstance(value, int)
    if kind == "boolean":
        return isinstance(value, bool)
    return isinstance(value, str)


def ecs(path, fields):
    published = json.load(open(fields, encoding="utf-8"))["fields"]
    count = 0
    for line in open(path, encoding="utf-8"):
        for name, value in flat(json.loads(line)):
            if name.startswith("keygate."):
                continue
            assert name in published, f"`{name}` is no field of ECS"
            facts = published[name]
            values = value if isinstance(value, list) else [value]
            assert isinstance(value, list) == facts.get("array", False), f"`{name}`: list or not"
            for one in values:
                assert one is None or is_of(facts["type"], one), f"`{name}`: {one!r} is no {facts['type']}"
                assert one in facts.get("values", [one]), f"`{name}`: {one!r} is not allowed"
            document = json.loads(line)
            allowed = published["event.category"]["types"][document["event"]["category"][0]]
            assert set(document["event"]["type"]) <= set(allowed), document["event"]
        count += 1
    assert count, "there is no document"
    return {"count": count}


what, *rest = sys.argv[1:]
print(json.dumps({"parquet": parquet, "csv": read_csv, "ocsf": ocsf, "ecs": ecs}[what](*rest)))
