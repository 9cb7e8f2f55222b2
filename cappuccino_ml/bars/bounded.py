"""HTTP answers in bounded time: neither silence nor a trickle of bytes can hold a run up."""

import time
from collections.abc import Callable
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, ReadTimeout
from urllib3.exceptions import DecodeError, ProtocolError, ReadTimeoutError


class BoundedAdapter(HTTPAdapter):
    """For `requests` sessions of libraries that set no time-out, or one that each new byte starts afresh.

    Args:
        silence_s: longest wait for a connection and for the next byte.
        answer_s: longest time from the request to the last byte of the body.
        heard: is given every answer, whatever its status.
        monotonic: seconds since any origin.
    """

    def __init__(
        self,
        *,
        silence_s: float,
        answer_s: float,
        heard: Callable[[Response], None] = lambda response: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._silence_s, self._answer_s = silence_s, answer_s
        self._heard, self._monotonic = heard, monotonic

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """As `HTTPAdapter.send`, with the body read.

        Raises:
            requests.exceptions.Timeout: one of the bounds was reached.
        """
        began = self._monotonic()
        options |= {"timeout": (self._silence_s, self._silence_s), "stream": True}
        response = super().send(request, *args, **options)
        try:
            body = []
            while data := response.raw.read1(decode_content=True):
                body.append(data)
                if self._monotonic() - began > self._answer_s:
                    raise ReadTimeout(f"no whole answer within {self._answer_s:g} s", request=request)
        except ReadTimeoutError as error:
            raise ReadTimeout(error, request=request) from error
        except ProtocolError as error:
            raise ChunkedEncodingError(error, request=request) from error
        except DecodeError as error:
            raise ContentDecodingError(error, request=request) from error
        finally:
            response.close()
        response._content, response._content_consumed = b"".join(body), True
        self._heard(response)
        return response
