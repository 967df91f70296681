"""A hub on loopback that serves one folder, and the hub library's cache."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put_in_cache(cache: Path, repository: str, source: Path) -> None:
    """Lay a folder down as the hub's library does after a download."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    shutil.copytree(source, folder / "snapshots" / COMMIT)


class Hub(http.server.BaseHTTPRequestHandler):
    """The few answers of the hub that a download asks for."""

    folder: Path

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        files = [p for p in sorted(self.folder.rglob("*")) if p.is_file()]
        headers = {"X-Repo-Commit": COMMIT}
        if not path.startswith(("/api/models/owner/model", "/owner/model/resolve/")):
            body, status = b'{"error": "Repository not found"}', 404
            headers["X-Error-Code"] = "RepoNotFound"
        elif "/tree/" in path:
            body, status = self._json(
                [
                    {
                        "type": "file",
                        "path": p.relative_to(self.folder).as_posix(),
                        "size": p.stat().st_size,
                        "oid": sha1(p.read_bytes()).hexdigest(),
                    }
                    for p in files
                ]
            )
        elif path.startswith("/api/"):
            siblings = [{"rfilename": p.relative_to(self.folder).as_posix()} for p in files]
            body, status = self._json({"id": "owner/model", "sha": COMMIT, "siblings": siblings})
        elif path.endswith(".onnx") and (self.folder / "broken").exists():
            body, status = b"", 501  # not among those the library waits for
        else:
            file = self.folder / path.split("/", 5)[5]
            body, status = (file.read_bytes(), 200) if file.is_file() else (b"", 404)
            headers["ETag"] = f'"{sha1(body).hexdigest()}"'
            if status == 404:
                headers["X-Error-Code"] = "EntryNotFound"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _json(self, content: object) -> tuple[bytes, int]:
        return json.dumps(content).encode(), 200

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder as the repository "owner/model"."""
    handler = type("TinyHub", (Hub,), {"folder": folder})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def hub_environment(endpoint: str, cache: Path, offline: str = "0") -> dict[str, str]:
    """Return the environment of a process that asks this hub: the library reads it at import."""
    return {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": offline,
        "HF_HUB_DISABLE_XET": "1",
    }
