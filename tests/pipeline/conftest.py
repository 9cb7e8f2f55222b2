"""Pictures are composed but not painted: tests/reports/ paints them all, and test_chain those of a whole chain."""

import io
from collections.abc import Iterator

import pytest

from cappuccino_ml.reports import style


def unpainted(figure: object, dpi: int) -> bytes:
    """A real PNG, and a blank one."""
    from PIL import Image

    small = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(small, format="PNG")
    return small.getvalue()


@pytest.fixture(scope="module", autouse=True)
def _unpainted_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Painting a figure takes about a second, and the chain's tests make hundreds."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem != "test_chain":
            patch.setattr(style, "_png", unpainted)
        yield
