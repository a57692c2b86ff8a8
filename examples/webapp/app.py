"""A web application whose requests call the warehouse, which is a gpyro daemon in another process.

The environment variable WAREHOUSE says where that is, as a URI.
"""

from __future__ import annotations

import copy
import os
from typing import Any

from flask import Flask, abort, request
from refusals import NoSuchArticle, NoSuchOrder, NotEnough, OtherOrder, Refusal
from werkzeug.exceptions import HTTPException

from gpyro import core, errors

app = Flask(__name__)

# One proxy for the whole process: any number of requests may call through it at the same time, and it connects by
# itself, at its first call, after the back end was restarted, and in a process that was forked from this one.
warehouse = core.getProxyForURI(os.environ.get("WAREHOUSE", "PYROLOC://localhost:7766/warehouse"))
warehouse._setTimeout(5)

# For calls that take long by their nature. Both proxies share one connection, on which calls do not hold each other up.
patient_warehouse = copy.copy(warehouse)
patient_warehouse._setTimeout(30)


# ---- when the warehouse does not answer, or says no

VERDICTS: dict[type[errors.ProtocolError], int] = {
    errors.NotSentError: 503,  # the call never left, or was not begun: may be repeated
    errors.CallRefusedError: 503,
    errors.TimeoutError: 504,
    errors.ProtocolError: 502,  # all others, such as MaybeExecutedError: it may have run, or not
}

REFUSALS: dict[type[Refusal], int] = {NoSuchArticle: 404, NoSuchOrder: 404, NotEnough: 409, OtherOrder: 409}


@app.errorhandler(errors.ProtocolError)
def no_answer(error: errors.ProtocolError) -> Any:
    """The call was not made, or its answer did not come; gpyro says what is known of it."""
    status = next(status for kind, status in VERDICTS.items() if isinstance(error, kind))
    app.logger.warning("no answer from the warehouse: %s: %s", type(error).__name__, error)
    answer = {"error": type(error).__name__, "text": str(error), "may_have_run": error.may_have_run}
    return answer, status, {"Retry-After": "1"} if status == 503 else {}


@app.errorhandler(Refusal)
def refused(error: Refusal) -> Any:
    """The warehouse said no. Any other exception of its methods is a fault: Flask logs it, and answers 500."""
    return {"error": type(error).__name__, "text": str(error)}, REFUSALS.get(type(error), 400)


@app.errorhandler(HTTPException)
def failed(error: HTTPException) -> Any:
    """Flask's own errors, as JSON like the others."""
    return {"error": error.name, "text": error.description}, error.code or 500


# ---- requests


@app.get("/articles")
def articles() -> Any:
    """How many there are of each article."""
    return warehouse.articles()


@app.post("/articles/<article>/deliveries")
def deliver(article: str) -> Any:
    """Take `count` more of an article into stock."""
    return {"there": warehouse.deliver(article, count())}


@app.put("/orders/<order>")
def put_order(order: str) -> Any:
    """Order `count` of `article`; with `wait`, wait until they are there. May be repeated, and is booked once."""
    if "wait" in request.form:
        return patient_warehouse.order(order, field("article"), count(), wait=True)
    return warehouse.order(order, field("article"), count())


@app.get("/orders/<order>")
def get_order(order: str) -> Any:
    """What was booked."""
    return warehouse.booked(order)


@app.get("/status")
def status() -> Any:
    """Which process answers, and what the warehouse knows of it."""
    return {"process": os.getpid(), **warehouse.status()}


def field(name: str) -> str:
    """A field of the request."""
    if name not in request.form:
        abort(400, f"the field {name!r} is missing")
    return request.form[name]


def count() -> int:
    """The number in the request."""
    number = request.form.get("count", type=int)
    if number is None or not 0 < number <= 1_000_000:
        abort(400, "the field 'count' is to be a whole number from 1 to 1000000")
    return number


# A call when the program starts. Under gunicorn's --preload this is in the master, before it forks the workers. That
# the warehouse is not there yet is no reason not to start: requests are answered as soon as it is.
try:
    warehouse.hello(os.getpid())
except errors.ProtocolError as error:
    app.logger.warning("the warehouse does not answer: %s", error)
