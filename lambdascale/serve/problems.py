"""What goes wrong, in the form in which OpenAI's clients expect it: a status and one JSON object."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from lambdascale.errors import ConfigError, LambdaScaleError, OverloadedError

BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 400, 401, 403, 404
TOO_SLOW, TOO_LARGE, HEADERS_TOO_LARGE, OVERLOADED, ENDED = 408, 413, 431, 429, 503
KINDS = {
    UNAUTHORIZED: "authentication_error",
    FORBIDDEN: "permission_error",
    OVERLOADED: "rate_limit_error",
    500: "server_error",
    ENDED: "server_error",
}


class ApiError(LambdaScaleError):
    """A request that gets no answer: HTTP `status`, a `code` for programs, the field it is about."""

    def __init__(
        self, status: int, message: str, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers: dict[str, str] = {}

    @property
    def body(self) -> dict[str, object]:
        """The JSON object."""
        kind = KINDS.get(self.status, "invalid_request_error")
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    def response(self) -> Response:
        """The HTTP response."""
        return as_json(self.body, self.status, self.headers)


def problem_of(error: LambdaScaleError) -> ApiError:
    """Return what to tell a client of an error."""
    match error:
        case ApiError():
            return error
        case OverloadedError():
            return overloaded(str(error), error.retry_after_s)
        case ConfigError():
            return ApiError(BAD_REQUEST, str(error))
    return ApiError(ENDED, str(error), "unavailable")


def overloaded(message: str, retry_after_s: float) -> ApiError:
    """Too much at once: come again in so many seconds."""
    problem = ApiError(OVERLOADED, message, "overloaded")
    problem.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    return problem


def invalid(errors: Sequence[Any]) -> ApiError:
    """Return the first of what pydantic found; what the client sent is not repeated."""
    first = errors[0]
    place = ".".join(str(step) for step in first["loc"][1:])
    code = "invalid_json" if first["type"] == "json_invalid" else "invalid_value"
    where = f"{place}: " if place else ""
    return ApiError(BAD_REQUEST, f"{where}{first['msg']}", code, place or None)


def as_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `value` as a response; ASCII, so that no letter a client made up can spoil it."""
    return Response(json.dumps(value), status, headers, media_type="application/json")
