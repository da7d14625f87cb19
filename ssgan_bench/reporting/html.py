"""Pages as HTML: one file without a network, styled and made sortable by what it carries itself."""

import base64
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

HERE = Path(__file__).parent


def data_uri(content: bytes, kind: str) -> str:
    """Write a picture as the value of `src`, safe between double quotes.

    Args:
        content: the file.
        kind: "svg" or "png". SVG is percent-encoded, a quarter shorter than base64.
    """
    if kind == "svg":
        text = content.decode()
        quoted = text if "'" in text else text.replace('"', "'")  # %22 is three characters
        # Kept are characters that neither a URL nor a quoted HTML attribute gives a meaning.
        kept = " ='/:;,()*+-.?"
        return f"data:image/svg+xml,{quote(quoted, safe=kept)}"
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def smaller_picture(svg: bytes, png: bytes) -> str:
    """Choose the notation of a figure that adds least to a page; SVG, which stays sharp, where they are equal."""
    return min(data_uri(svg, "svg"), data_uri(png, "png"), key=len)


def to_html(template: str, **values: Any) -> str:
    """Render a page; the text of every value is escaped.

    Args:
        template: file name beside this module.
        values: what the template names. Style, script and the policy that allows just this script are added.
    """
    # autoescape for every template: labels, questions and error messages are anyone's text.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style = (HERE / "page.css").read_text(encoding="utf-8")
    script = (HERE / "page.js").read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    return environment.get_template(template).render(style=style, script=script, policy=policy, **values)
