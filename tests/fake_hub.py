"""A tiny Hugging Face hub: enough of its API for huggingface_hub and datasets, served from a dictionary.

The same repositories are data sets (/datasets/…) and models. Weights are git's large files, listed with their sha256.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEXT = COMMIT[::-1]  # where the main branch is once it has moved

ERRORS = {
    "gone/set": (404, {"X-Error-Code": "RepoNotFound"}),
    "private/set": (401, {"X-Error-Code": "RepoNotFound"}),
    "gated/set": (403, {"X-Error-Code": "GatedRepo"}),
    "disabled/set": (403, {"X-Error-Message": "Access to this resource is disabled."}),
    "forbidden/set": (403, {}),
    "busy/set": (429, {"Retry-After": "7"}),
    "down/set": (503, {}),
    "broken/set": (500, {}),
    "odd/set": (418, {}),
}

Files = dict[str, bytes]

Trouble = dict[tuple[str, str], str]
"""(id, path) -> what goes wrong: 'cut' hangs up once after half the file, 'stuck' never sends more than that half,
'flipped' sends another last byte."""


class _Hub(BaseHTTPRequestHandler):
    repositories: dict[str, Files]
    before: dict[str, Files] | None
    trouble: Trouble
    asked: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self._answer(self.rfile.read(length))

    def _answer(self, body: bytes = b"") -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".rstrip())
        match = re.match(r"(?:/api)?/?(?:datasets/|models/)?([^/]+/[^/]+)(?:/(\w+(?:-\w+)?)/([^/]+)(?:/(.*))?)?$", path)
        if match is None:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        id, action, revision, rest = match.groups()
        if id in ERRORS:
            status, headers = ERRORS[id]
            return self._send(status, b"{}", headers)
        if id not in self.repositories:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        newest = COMMIT if self.before is None else NEXT
        if revision not in (None, "main", COMMIT, newest):
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        self.commit = COMMIT if revision == COMMIT else newest
        files = (self.repositories if self.commit == newest else self.before)[id]
        if action == "resolve":
            return self._file(id, rest, files.get(rest))
        if action == "tree":
            return self._json(_entries(files, rest or "", "recursive=true" in self.path.lower()))
        if action == "paths-info":
            asked = parse_qs(body.decode()).get("paths") or json.loads(body or b"{}").get("paths", [])
            return self._json([entry for entry in _entries(files, "", True) if entry["path"] in asked])
        return self._json(_info(id, self.commit, files))

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, id: str, path: str, data: bytes | None) -> None:
        headers = {"X-Repo-Commit": self.commit, "Accept-Ranges": "bytes"}
        if data is None:
            return self._send(404, b"", headers | {"X-Error-Code": "EntryNotFound"})
        headers["ETag"] = f'"{_sha256(data) if _is_large(path) else _oid(data)}"'
        trouble = self.trouble.get((id, path)) if self.command == "GET" else None
        if trouble == "flipped":
            data = data[:-1] + bytes([data[-1] ^ 1])
        wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if trouble == "cut":
            del self.trouble[id, path]
            return self._cut(data, headers, len(data) // 2)
        if trouble == "stuck":
            start = int(wanted[1]) if wanted else 0
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self._cut(data[start:], headers, max(0, len(data) // 2 - start), 206 if start else 200)
        if wanted is None:
            return self._send(200, data, headers)
        start, end = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        return self._send(206, data[start : end + 1], headers)

    def _cut(self, data: bytes, headers: dict[str, str], count: int, status: int = 200) -> None:
        """Promise all of `data` and hang up after `count` bytes."""
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:count])
        self.wfile.flush()
        self.close_connection = True

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".bin", ".ckpt"))


def _sibling(path: str, data: bytes) -> dict:
    large = {"size": len(data), "sha256": _sha256(data), "pointerSize": 134}
    return {"rfilename": path, "size": len(data), "blobId": _oid(data)} | ({"lfs": large} if _is_large(path) else {})


def _entries(files: Files, folder: str, recursive: bool) -> list[dict]:
    prefix = folder.rstrip("/") + "/" if folder else ""
    found: dict[str, dict] = {}
    for path, data in files.items():
        if not path.startswith(prefix):
            continue
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts) if recursive else min(2, len(parts))):
            name = prefix + "/".join(parts[:depth])
            found[name] = {"type": "directory", "path": name, "size": 0, "oid": _oid(name.encode())}
        if recursive or len(parts) == 1:
            found[path] = {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
    return list(found.values())


def _info(id: str, commit: str, files: Files) -> dict:
    card = {}
    match = re.match(rb"---\n(.*?)\n---", files.get("README.md", b""), re.DOTALL)
    if match is not None:
        card = yaml.safe_load(match[1])
    siblings = [_sibling(path, data) for path, data in files.items()]
    return {
        "id": id,
        "sha": commit,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
        "cardData": card,
    }


@contextmanager
def serve(
    repositories: dict[str, Files],
    trouble: Trouble | None = None,
    asked: list[str] | None = None,
    before: dict[str, Files] | None = None,
) -> Iterator[str]:
    """Serve `repositories` (id -> path -> bytes) and yield the address.

    `asked` collects the requests; `before` is what the repositories were at `COMMIT`, when their branch has moved.
    """
    members = {"repositories": repositories, "before": before, "trouble": trouble or {}}
    members["asked"] = [] if asked is None else asked
    handler = type("Handler", (_Hub,), {**members, "protocol_version": "HTTP/1.1"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
