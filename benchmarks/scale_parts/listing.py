"""Answers requests for listings of a bucket of which only the names are known, as S3 does.

The server of the benchmarks sorts all names for each page, which would be most of the time of a listing.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from hashlib import md5
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

PAGE = 1000
"""Objects and folders of a page, at most."""
LAST = "\U0010ffff"


class Listing:
    """A bucket of the names of objects.

    Args:
        bucket: its name.
    """

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self._names: list[str] = []
        self._xml: dict[str, str] = {}

    def put(self, name: str, data: bytes) -> None:
        """Add an object."""
        if name not in self._xml:
            insort(self._names, name)
        etag = md5(data, usedforsecurity=False).hexdigest()
        self._xml[name] = (
            f"<Contents><Key>{quote(name)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{etag}&quot;</ETag><Size>{len(data)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )

    def answers(self, path: str) -> bytes | None:
        """The answer to a GET request; None if it is none for a listing of this bucket."""
        parts = urlsplit(path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path.strip("/") != self.bucket or asked.get("list-type") != "2":
            return None
        prefix, most = asked.get("prefix", ""), min(PAGE, int(asked.get("max-keys", PAGE)))
        after = max(asked.get("continuation-token", ""), asked.get("start-after", ""))
        found: list[tuple[str, str]] = []
        for name, xml in self._after(after, prefix, asked.get("delimiter")):
            if len(found) == most:
                return self._page(found, more=True)
            found.append((name, xml))
        return self._page(found, more=False)

    def _after(self, after: str, prefix: str, delimiter: str | None) -> Iterator[tuple[str, str]]:
        """Yield objects and folders behind a name, and their XML; a folder is named by its last possible object."""
        at = max(bisect_right(self._names, after), bisect_left(self._names, prefix))
        while at < len(self._names) and self._names[at].startswith(prefix):
            name = self._names[at]
            inner, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if not cut:
                yield name, self._xml[name]
                at += 1
                continue
            folder = f"{prefix}{inner}{cut}"
            yield folder + LAST, f"<CommonPrefixes><Prefix>{quote(folder)}</Prefix></CommonPrefixes>"
            at = bisect_left(self._names, folder + LAST)

    def _page(self, found: Sequence[tuple[str, str]], *, more: bool) -> bytes:
        token = f"<NextContinuationToken>{escape(found[-1][0])}</NextContinuationToken>" if more else ""
        rest = "".join(_ordered(xml for _, xml in found))
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{self.bucket}</Name><EncodingType>url</EncodingType><KeyCount>{len(found)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{rest}</ListBucketResult>"
        ).encode()


def _ordered(parts: Iterable[str]) -> list[str]:
    return sorted(parts, key=lambda xml: xml.startswith("<CommonPrefixes>"))
