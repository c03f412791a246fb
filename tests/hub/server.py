"""A local stand-in that speaks the part of the hub's HTTP API that loading needs, faults included.

It follows what huggingface_hub asks: information, file lists and references under /api, files under
/resolve with ETag, X-Repo-Commit and ranges, errors as X-Error-Code. It advertises no Xet storage.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_" + "a" * 34  # its account may read everything
STRANGER = "hf_" + "b" * 34  # a valid token without access to anything gated or private


@dataclass
class Repo:
    """A repository: files of every commit, names of commits, who may read."""

    kind: str  # datasets or models
    id: str
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def commit(self, files: Mapping[str, bytes], ref: str = "main") -> str:
        """Add a commit on top of a branch; return its 40 digits."""
        before = self.commits.get(self.refs.get(ref, ""), {})
        content = {**before, **files}
        text = self.id + json.dumps({k: hashlib.sha1(v).hexdigest() for k, v in content.items()})
        name = hashlib.sha1(text.encode()).hexdigest()
        self.commits[name] = content
        self.refs[ref] = name
        return name

    def resolve(self, revision: str) -> str | None:
        """Return the commit of a branch or commit."""
        return self.refs.get(revision, revision if revision in self.commits else None)


@dataclass
class Fault:
    """What goes wrong with a file of a repository, for the next `times` downloads.

    kinds: "cut" sends half and closes, "short" sends less than HEAD promised and says so,
    "stall" sends half and then nothing, "status" answers with `status` (also to HEAD).
    """

    repo: str
    path: str
    kind: str
    times: int = 10**6
    status: int = 503


class Hub:
    """The stand-in: repositories, faults, and a log of (method, path, range, status)."""

    def __init__(self) -> None:
        self.repos: list[Repo] = []
        self.faults: list[Fault] = []
        self.log: list[tuple[str, str, str | None, int]] = []
        self.server: ThreadingHTTPServer | None = None
        self.port = 0
        self.stalled, self.released = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        """Its HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the port it had before if it had one."""
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = _Server(("127.0.0.1", self.port), handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def add(self, kind: str, name: str, files: Mapping[str, bytes], **access: bool) -> str:
        """Add a repository with one commit on main; return that commit."""
        repo = Repo(kind, name, **access)
        self.repos.append(repo)
        return repo.commit({".gitattributes": b"*.bin filter=lfs\n", **files})

    def find(self, kind: str, name: str) -> Repo | None:
        """Return a repository, if it exists."""
        return next((r for r in self.repos if (r.kind, r.id) == (kind, name)), None)

    def fault(self, path: str, head: bool) -> Fault | None:
        """Return and use up the fault that meets a request."""
        for fault in self.faults:
            meets = f"/{fault.repo}/resolve/" in path and path.endswith(fault.path)
            if meets and fault.times > 0 and (not head or fault.kind == "status"):
                fault.times -= 1
                return fault
        return None

    @contextmanager
    def broken(self, *faults: Fault) -> Iterator[None]:
        """Let faults happen inside the block only."""
        self.faults = list(faults)
        try:
            yield
        finally:
            self.faults = []

    def asked(self, part: str) -> list[tuple[str, str, str | None, int]]:
        """Return the requests whose path contains `part`."""
        return [entry for entry in self.log if part in entry[1]]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        self.form = parse_qs(self.rfile.read(size).decode())
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        steps = [unquote(step) for step in parts.path.strip("/").split("/")]
        if steps[0] == "api":
            self._api(steps[1:])
        else:
            kind = "datasets" if steps[0] == "datasets" else "models"
            self._file(kind, steps[1:] if kind == "datasets" else steps)

    # What a repository is and holds.

    def _api(self, steps: list[str]) -> None:
        kind, rest = steps[0], steps[1:]
        if kind not in ("datasets", "models"):
            return self._error(404, "")  # what else the libraries ask for, and do without
        if not rest:
            return self._search(kind)
        repo = self.hub.find(kind, "/".join(rest[:2]))
        if not self._may_see(repo):
            return self._error(404 if self._account() else 401, "RepoNotFound")
        verb, *more = rest[2:] or ["revision", "main"]
        if verb == "refs":
            branches = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
                for name, commit in repo.refs.items()
            ]
            return self._json({"branches": branches, "tags": [], "converts": []})
        commit = repo.resolve(more[0])
        if commit is None:
            return self._error(404, "RevisionNotFound")
        files = repo.commits[commit]
        if verb == "revision":
            return self._json(self._info(repo, commit))
        if verb == "tree":
            return self._json(_tree(files, "/".join(more[1:])))
        asked = self.form["paths"]  # paths-info
        return self._json([e for e in _tree(files, "") if e["path"] in asked])

    def _search(self, kind: str) -> None:
        author, word = self.query.get("author", [""])[0], self.query.get("search", [""])[0]
        found = [
            self._info(repo, repo.refs["main"])
            for repo in self.hub.repos
            if repo.kind == kind and not repo.private
            if repo.id.startswith(f"{author}/" if author else "") and word in repo.id
        ]
        self._json(found)

    def _info(self, repo: Repo, commit: str) -> dict[str, object]:
        return {
            "id": repo.id,
            "modelId": repo.id,
            "sha": commit,
            "private": repo.private,
            "gated": "manual" if repo.gated else False,
            "siblings": [{"rfilename": path} for path in sorted(repo.commits[commit])],
        }

    # Who may see and read it.

    def _account(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _may_see(self, repo: Repo | None) -> bool:
        return repo is not None and (not repo.private or self._account() == TOKEN)

    # Files.

    def _file(self, kind: str, steps: list[str]) -> None:
        at = steps.index("resolve")
        repo = self.hub.find(kind, "/".join(steps[:at]))
        revision, path = steps[at + 1], "/".join(steps[at + 2 :])
        if self._account() not in ("", TOKEN, STRANGER):
            return self._error(401, "", "Invalid credentials in Authorization header")
        if not self._may_see(repo):
            return self._error(404 if self._account() else 401, "RepoNotFound")
        commit = repo.resolve(revision)
        if commit is None:
            return self._error(404, "RevisionNotFound")
        if repo.gated and self._account() != TOKEN and path != "README.md":
            return self._error(403 if self._account() else 401, "GatedRepo")
        content = repo.commits[commit].get(path)
        if content is None:
            return self._error(404, "EntryNotFound", commit=commit)
        return self._send_file(content, commit)

    def _send_file(self, content: bytes, commit: str) -> None:
        head = self.command == "HEAD"
        fault = self.hub.fault(urlsplit(self.path).path, head)
        if fault is not None and fault.kind == "status":
            return self._error(fault.status, "")
        etag = hashlib.sha1(content).hexdigest()
        start = 0
        if asked := self.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").split("-")[0])
        body = content[start:]
        if fault is not None and fault.kind == "short":
            body = body[:-1]
        headers = {
            "ETag": f'"{etag}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
            "Content-Length": str(len(body)),
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._start(206 if start else 200, headers)
        if head:
            return None
        if fault is not None and fault.kind in ("cut", "stall"):
            self.wfile.write(body[: len(body) // 2])
            if fault.kind == "stall":
                self.hub.stalled.set()
                self.hub.released.wait()
            self.close_connection = True
            return None
        self.wfile.write(body)
        return None

    # Answers.

    def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.hub.log.append((self.command, self.path, self.headers.get("Range"), status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self._start(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str, message: str = "", commit: str = "") -> None:
        # Told to come back at once, a client waits one second instead of more each time.
        more = {"Content-Length": "0"} | ({"Retry-After": "0"} if status >= 500 else {})
        headers = {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit}
        self._start(status, {k: v for k, v in headers.items() if v} | more)


def _tree(files: Mapping[str, bytes], under: str) -> list[dict[str, object]]:
    """Return files and folders below `under`, as the list of a tree has them."""
    inside = {p: c for p, c in files.items() if p.startswith(f"{under}/" if under else "")}
    folders = {
        "/".join(path.split("/")[:depth])
        for path in inside
        for depth in range(1, path.count("/") + 1)
    } - {under}
    return [
        {
            "type": "directory",
            "oid": hashlib.sha1(name.encode()).hexdigest(),
            "path": name,
            "size": 0,
        }
        for name in sorted(folders)
    ] + [
        {"type": "file", "oid": hashlib.sha1(c).hexdigest(), "path": p, "size": len(c)}
        for p, c in sorted(inside.items())
    ]
