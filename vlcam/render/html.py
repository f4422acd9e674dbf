"""What every page shares: a strict content policy, and files embedded in it."""

import base64
import hashlib
import json
import re
from importlib.resources import files


def make_policy(script: str, style: str, *more: str) -> str:
    """A content security policy that allows exactly this script, this style, ``more`` scripts, and pictures inside the file."""
    scripts = " ".join(f"'{_hash(one)}'" for one in (script, *more))
    return (
        f"default-src 'none'; script-src {scripts}; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def embed(content: object) -> str:
    r"""JSON that is safe inside a script element: no character that HTML or an old JavaScript parser gives a meaning to.

    >>> embed("</script>&\u2028")
    '"\\u003c/script\\u003e\\u0026\\u2028"'
    """
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def read_template(package: str, name: str) -> str:
    """A file of a package's ``templates`` folder, without the lines that are comments for the reader of the source only."""
    text = files(package).joinpath("templates", name).read_text(encoding="utf-8").strip()
    return re.sub(r"(?m)^ */\*.*\*/\n", "", text)
