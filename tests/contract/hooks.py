"""What schemathesis does not know of our document: codes of problems, streams, and requests that would wait.

Loaded by SCHEMATHESIS_HOOKS; tests/run.sh says with which servers and tokens.
"""

import base64
import json
import urllib.parse

import schemathesis
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

LOGS = st.binary(min_size=20, max_size=20).map(lambda log: log[:8] + log[8:16] + b"\0" * 8 + log[16:])


@st.composite
def cursors(draw):
    """Text that a server can read as a cursor (section 11 of protocol/README.md)."""
    logs = draw(st.lists(LOGS, max_size=3, unique_by=lambda log: log[:8]))
    return base64.urlsafe_b64encode(b"\x01" + b"".join(sorted(logs))).decode().rstrip("=")


schemathesis.openapi.format("rallypoint-cursor", cursors())


@schemathesis.hook
def filter_query(context, query):
    """A head that is too long is answered before any route: 414 and 431, which the document has for all of them."""
    return len(urllib.parse.urlencode(query or {}, doseq=True)) < 4096


@schemathesis.hook
def before_call(context, case, kwargs):
    """Of several starting points of a feed the server reads the first only, so one is asked for. And a poll that is good
    waits, for as long as it says; nothing is learnt from that."""
    if case.operation.path in ("/v1/events", "/v1/poll"):
        query, headers = dict(case.query or {}), case.headers or {}
        points = [name for name in ("after", "since") if name in query]
        if "Last-Event-ID" in headers and points:
            case.headers = {name: value for name, value in headers.items() if name != "Last-Event-ID"}
        if len(points) == 2:
            case.query = {name: value for name, value in query.items() if name != "since"}
    if case.operation.path == "/v1/poll":
        wait = (case.query or {}).get("wait", 25)
        try:
            is_long = 0 < float(wait) <= 50
        except (TypeError, ValueError):
            is_long = False
        if is_long:
            case.query = {**(case.query or {}), "wait": 0.01}


send = HTTPAdapter.send


def send_and_leave(self, request, **kwargs):
    """A connection that is a WebSocket now speaks no HTTP any more."""
    response = send(self, request, **kwargs)
    if response.status_code == 101 and response.raw._connection is not None:
        response.raw._connection.close()
    return response


HTTPAdapter.send = send_and_leave


def problem_of(response):
    kind = response.headers.get("content-type", [""])[0]
    return json.loads(response.content) if kind == "application/problem+json" and response.content else None


@schemathesis.check
def only_listed_problems(context, response, case):
    """`x-problems` lists the code, or the document says that it may come anywhere."""
    problem = problem_of(response)
    if problem is None:
        return
    document = case.operation.schema.raw_schema
    listed = case.operation.definition.raw.get("x-problems", [])
    if case.method.upper() != case.operation.method.upper():
        listed = document["x-problems"]
    assert problem["code"] in listed, f"{problem['code']} {problem['title']} is not in x-problems of this operation"
    seconds = response.headers.get("retry-after", [None])[0]
    told = problem.get("retry_after")
    assert seconds == (None if told is None else str(-(-told // 1000))), "Retry-After is not retry_after"


# What is refused for its form. Not 603 and 604, bytes and levels, and not 606, since what is in a cursor no schema tells.
SHAPES = {600, 602, 605, 607, 608, 610, 611, 706}


@schemathesis.check
def what_is_well_formed_is_taken(context, response, case):
    """Nothing that the document calls well formed is refused for its form."""
    problem = problem_of(response)
    if problem is None or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    assert problem["code"] not in SHAPES, f"refused with {problem['code']}: {problem['detail']}"


@schemathesis.check
def streams_begin_as_they_should(context, response, case):
    """The first block of a stream, of which no more is read."""
    if response.headers.get("content-type", [""])[0] != "text/event-stream":
        return
    text = response.content.decode()
    assert text.startswith("retry: 2000\n"), text
    first = "cpu" if case.operation.path == "/v1/status" else "connected"
    events = [line.removeprefix("event: ") for line in text.split("\n") if line.startswith("event: ")]
    assert events == [first], text
    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    assert len(data) == 1 and "time" in json.loads(data[0]), text
