"""HTTP answers in bounded time and size: neither silence nor a trickle or a flood of bytes can hold a run up."""

import time
from collections.abc import Callable
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ConnectionError, ReadTimeout
from urllib3.exceptions import DecodeError, ProtocolError, ReadTimeoutError

MOST_BYTES = 64_000_000  # the longest honest answer, an exchange's list of its markets, has some 15 MB
_AT_ONCE = 65_536


class BodyError(ConnectionError):
    """A body that is too long or cannot be unpacked; the message says which, as half a sentence, and names no url."""


class BoundedAdapter(HTTPAdapter):
    """For `requests` sessions of libraries that set no time-out, or one that each new byte starts afresh.

    Args:
        silence_s: longest wait for a connection and for the next byte.
        answer_s: longest time from the request to the last byte of the body.
        most_bytes: longest body, unpacked.
        heard: is given every answer, whatever its status.
        monotonic: seconds since any origin.
    """

    def __init__(
        self,
        *,
        silence_s: float,
        answer_s: float,
        most_bytes: int = MOST_BYTES,
        heard: Callable[[Response], None] = lambda response: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._silence_s, self._answer_s, self._most_bytes = silence_s, answer_s, most_bytes
        self._heard, self._monotonic = heard, monotonic

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """As `HTTPAdapter.send`, with the body read.

        Raises:
            requests.exceptions.Timeout: one of the bounds in time was reached.
            BodyError: the body is longer than allowed, or not packed as its header says.
        """
        began = self._monotonic()
        options |= {"timeout": (self._silence_s, self._silence_s), "stream": True}
        response = super().send(request, *args, **options)
        try:
            body, size = [], 0
            # Unpacked in small steps: a few packed bytes may stand for a thousand times as many.
            while data := response.raw.read1(_AT_ONCE, decode_content=True):
                body.append(data)
                if (size := size + len(data)) > self._most_bytes:
                    raise BodyError(f"an answer of more than {self._most_bytes:,} bytes", request=request)
                if self._monotonic() - began > self._answer_s:
                    raise ReadTimeout(f"no whole answer within {self._answer_s:g} s", request=request)
        except ReadTimeoutError as error:
            raise ReadTimeout(error, request=request) from error
        except ProtocolError as error:
            raise ChunkedEncodingError(error, request=request) from error
        except DecodeError as error:
            raise BodyError("a body that cannot be unpacked", request=request) from error
        finally:
            response.close()
        response._content, response._content_consumed = b"".join(body), True
        self._heard(response)
        return response
