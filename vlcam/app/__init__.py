"""A page on this machine where people upload a photo, ask a model and see what its words rest on: ``vlcam app``.

The page is Gradio's (extra ``app``), the explanation in it vlcam's own. It listens on 127.0.0.1 only, sends nothing anywhere, opens no
address that it is given, and lets one request at a time run a model.
"""

from vlcam.app.serve import serve_app

__all__ = ["serve_app"]
