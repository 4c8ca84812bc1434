"""The pictures of a page."""

import base64
import io
from collections.abc import Iterator, Set

from PIL import Image

from reid.errors import ReidError


class Album:
    """Pictures, each once however often it is shown: a class of the page's style sheet."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}

    def add(self, content: bytes) -> str:
        """The class of a JPEG file."""
        return self._names.setdefault(content, f"p{len(self._names)}")

    def size_with(self, others: Set[bytes]) -> int:
        """Bytes of its pictures and of others that may come."""
        return sum(map(len, self._names.keys() | others))

    def rules(self) -> Iterator[tuple[str, str, int, int]]:
        """Of each: its class, an address that holds it, width and height. Raises ReidError for what is no picture."""
        for content, name in self._names.items():
            try:
                with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
                    width, height = image.size
            except (OSError, Image.DecompressionBombError) as error:
                raise ReidError(f"an exhibit holds a picture that is no JPEG file ({error}); evaluate again") from error
            yield name, f"data:image/jpeg;base64,{base64.b64encode(content).decode()}", width, height
