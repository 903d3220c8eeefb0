"""The description on a package index: the README, whose links into the repository are dead there.

``[tf_hfwb] repository`` in setup.cfg is the repository's address. It makes links of them again, to the files of this
version; while it is empty, the texts of the links are left, and pictures are left out.
"""

from __future__ import annotations

import configparser
import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).resolve().parent
# An optional exclamation mark, the text, and a target that is neither an address nor a place on the page.
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def repository() -> str:
    """The address, without a slash at its end; empty if there is none."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    return settings["tf_hfwb"]["repository"].strip().rstrip("/")


def description(address: str) -> str:
    """The README for an index.

    Args:
        address: The repository's; empty if it has none.
    """
    (version,) = re.findall(r'^__version__ = "(.+)"', (ROOT / "tf_hfwb" / "__init__.py").read_text("utf-8"), re.M)

    def change(found: re.Match[str]) -> str:
        is_picture, text, target = found.groups()
        if not address:
            return "" if is_picture else text
        return f"{is_picture}[{text}]({address}/{'raw' if is_picture else 'blob'}/v{version}/{target})"

    parts = _CODE.split((ROOT / "README.md").read_text("utf-8"))
    parts[::2] = [_LINK.sub(change, part) for part in parts[::2]]
    return re.sub(r"\n{3,}", "\n\n", "".join(parts))


address = repository()
setuptools.setup(
    long_description=description(address),
    long_description_content_type="text/markdown",
    project_urls={"Source": address, "Changelog": f"{address}/blob/HEAD/CHANGELOG.md"} if address else {},
)
