"""The two documents keep to the formats that they are in: `formal.py ASYNCAPI_SCHEMA [--self-test]`.

OpenAPI has its schema in schemathesis, AsyncAPI in the npm package @asyncapi/specs.
"""

import copy
import json
import pathlib
import sys

import jsonschema_rs
from schemathesis.specs.openapi.definitions import OPENAPI_31

PROTOCOL = pathlib.Path(__file__).parent / "../../protocol"


def faults(validator, document):
    return [f"/{'/'.join(map(str, error.instance_path))}: {error.message[:200]}" for error in validator.iter_errors(document)]


def faulty(document, change):
    document = copy.deepcopy(document)
    change(document)
    return document


def main():
    schema = json.loads(pathlib.Path(sys.argv[1]).read_text())
    openapi = json.loads((PROTOCOL / "openapi.json").read_text())
    asyncapi = json.loads((PROTOCOL / "asyncapi.json").read_text())
    of_openapi = jsonschema_rs.Draft202012Validator(OPENAPI_31)
    of_asyncapi = jsonschema_rs.Draft7Validator(schema)
    if "--self-test" in sys.argv:
        planted = [
            (of_openapi, faulty(openapi, lambda it: it["paths"].update({"no-slash": {}}))),
            (of_openapi, faulty(openapi, lambda it: it["info"].pop("version"))),
            (of_asyncapi, faulty(asyncapi, lambda it: it["operations"]["join"].update({"action": "hear"}))),
            (of_asyncapi, faulty(asyncapi, lambda it: it["channels"]["socket"].update({"surprise": 1}))),
        ]
        missed = [number for number, (validator, document) in enumerate(planted) if not faults(validator, document)]
        print(f"{len(planted)} faults planted, missed: {missed}")
        sys.exit(bool(missed))
    found = faults(of_openapi, openapi) + faults(of_asyncapi, asyncapi)
    print("\n".join(found) or "openapi.json and asyncapi.json are well formed")
    sys.exit(bool(found))


main()
