"""Faults planted in copies of the documents, each of which schemathesis must find: `planted.py SCHEMATHESIS URL TOKEN`."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
MEMBER, EVENTS = "/v1/rooms/{room}/members/{peer}", "/v1/rooms/{room}/events"


def responses(document, path, method):
    return document["paths"][path][method]["responses"]


def renamed(document, before, after):
    document[after] = document.pop(before)


# What is planted, in which file, by what change; the operation that is asked; a word of what is found.
FAULTS = [
    ("a code that is not listed", "openapi.json", lambda it: it["paths"][MEMBER]["delete"]["x-problems"].remove(802), "kick", "is not in x-problems"),
    ("a status that is not there", "openapi.json", lambda it: responses(it, MEMBER, "delete").pop("404"), "kick", "Undocumented status code"),
    ("another kind of body", "openapi.json", lambda it: renamed(responses(it, EVENTS, "post")["201"]["content"], "application/json", "text/json"), "publish", "Undocumented Content-Type"),
    ("another header", "openapi.json", lambda it: it["components"]["headers"]["NoStore"]["schema"].update(const="private"), "listRooms", "header does not conform"),
    ("a field of another name", "schema/http.json", lambda it: it["$defs"]["published"].update(required=["place"]), "publish", "violates schema"),
    ("a bound that is too wide", "openapi.json", lambda it: it["components"]["parameters"]["limit"]["schema"].update(maximum=501), "listRooms", "refused with 608"),
    ("a bound that is too narrow", "openapi.json", lambda it: it["components"]["parameters"]["limit"]["schema"].update(maximum=400), "listRooms", "Schema-violating request accepted"),
    ("a method that is not there", "openapi.json", lambda it: it["paths"]["/v1/rooms"].update(post=it["paths"][EVENTS]["post"] | {"operationId": "no"}), "no", "801 method-not-allowed is not in x-problems"),
]


def found(schemathesis, url, token, file, change, operation):
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "protocol"
        shutil.copytree(HERE / "../../protocol", copy, ignore=shutil.ignore_patterns("vectors", "src", "tests"))
        document = json.loads((copy / file).read_text())
        change(document)
        (copy / file).write_text(json.dumps(document))
        command = [schemathesis, "--config-file", HERE / "schemathesis.toml", "run", copy / "openapi.json", "--url", url]
        command += ["-H", f"Authorization: Bearer {token}", "--include-operation-id", operation, "--phases", "examples,coverage"]
        ran = subprocess.run(command, capture_output=True, text=True)
        return ran.stdout + ran.stderr if ran.returncode == 1 else f"status {ran.returncode}: {ran.stdout}{ran.stderr}"


def main():
    schemathesis, url, token = sys.argv[1:]
    failed = 0
    for what, file, change, operation, word in FAULTS:
        output = found(schemathesis, url, token, file, change, operation)
        if word not in output:
            failed += 1
            print(f"not found: {what}\n{output}")
    print(f"{len(FAULTS) - failed} passed, {failed} failed")
    sys.exit(bool(failed))


main()
