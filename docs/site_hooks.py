"""What MkDocs does not do by itself, so that a page asks for nothing outside of its folder.

Material draws Mermaid with a script from the network. The only diagram here is a stack of boxes, which needs none.
Searching in a file takes another such script, which lies here.
"""

from __future__ import annotations

import html
import re
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.utils import get_relative_url

_DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_FLOOR = re.compile(r"subgraph (\w+) \[.*?\]\n(.*?)\n *end", re.DOTALL)
_SHIM = "https://unpkg.com/iframe-worker/shim"
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):<code>~?([\w.]+)</code>")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Draw each diagram of floors as boxes, the topmost first."""
    return _DIAGRAM.sub(lambda found: _drawn(found[1], page.file.src_uri), markdown)


def _drawn(diagram: str, place: str) -> str:
    floors = dict(_FLOOR.findall(diagram))
    order = diagram.strip().splitlines()[-1].split(" --> ")
    if not diagram.startswith("flowchart BT") or [name.strip() for name in order] != list(floors):
        raise PluginError(f"{place} has a Mermaid diagram that is no stack of floors, and only these can be drawn.")
    boxes = [
        "<div>" + "".join(f"<code>{html.escape(name)}</code>" for name in names.split()) + "</div>"
        for names in reversed(floors.values())
    ]
    return '<div class="layers">' + "<span>↑</span>".join(boxes) + "</div>\n"


def on_page_content(content: str, **_: Any) -> str:
    """Turn the roles of docstrings, such as ``:class:`~tf_hfwb.TFTrainer```, into links within the page."""
    return _ROLE.sub(lambda found: _linked(found[1], content), content)


def _linked(name: str, content: str) -> str:
    short = name.rpartition(".")[2]
    code = f"<code>{html.escape(short)}</code>"
    target = next((path for path in (name, f"tf_hfwb.{short}") if f'id="{path}"' in content), None)
    return f'<a href="#{target}">{code}</a>' if target else code


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Take the script for searching in files from this folder."""
    return output.replace(_SHIM, get_relative_url("iframe-worker.js", page.url))


def on_post_template(output_content: str, **_: Any) -> str:
    """The same on the page for addresses that are not there."""
    return output_content.replace(_SHIM, "/iframe-worker.js")
