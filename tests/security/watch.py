"""The `recipe` command under an audit hook: what it opens, changes, starts, connects to and runs.

    python -P -m tests.security.watch LOG run X.yaml --quiet

writes one JSON line to LOG for each new [kind, what]: "read", "list", "write", "change", "process", "network", "code"
(a file that was run or linked), "pickle" (a name that a pickle asked for). The hook stands before anything of runner
is imported. What a library opens from native code (safetensors does) raises no event of Python's.
"""

import json
import os
import socket
import sys

_CHANGES = {
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.chown", "os.utime"),
}
_PROCESSES = {
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"),
    *("os.kill", "os.killpg"),
}
_NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "socket.gethostby", "http.client")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def told(event: str, arguments: tuple) -> list[tuple[str, str]]:
    """What of an audit event is written down, as pairs of its kind and a path or a text."""
    if event == "open":
        path, mode, flags = arguments
        writes = any(letter in (mode or "") for letter in "wax+") or (flags or 0) & _WRITING
        return [("write" if writes else "read", place(path))] if not isinstance(path, int) else []
    if event in ("os.listdir", "os.scandir"):
        return [("list", place(arguments[0] or "."))] if not isinstance(arguments[0], int) else []
    if event in _CHANGES:
        paths = [argument for argument in arguments if isinstance(argument, str | bytes | os.PathLike)]
        made = paths[1:] if event in ("os.symlink", "os.link") else paths
        return [("change", entry(path, arguments[-1])) for path in made]
    if event in _PROCESSES:
        return [("process", f"{event} {arguments[:2]}")]
    if event.startswith(_NETWORK):
        return [("network", f"{event} {[part for part in arguments if not isinstance(part, socket.socket)]}")]
    if event == "exec" and not arguments[0].co_filename.startswith("<"):
        return [("code", place(arguments[0].co_filename))]
    if event == "import" and arguments[1]:
        return [("code", place(arguments[1]))]
    if event == "ctypes.dlopen" and arguments[0]:
        return [("code", str(arguments[0]))]
    return [("pickle", ".".join(map(str, arguments)))] if event == "pickle.find_class" else []


def place(path: object) -> str:
    """An absolute path whose links are followed: what is really read or written."""
    return os.path.realpath(os.fsdecode(path))


def entry(path: object, folder: object) -> str:
    """An absolute path of which the last link is not followed: what is made, renamed or removed.

    Args:
        folder: the number of the open folder that a relative path is relative to; anything else means the working one.
    """
    name = os.fsdecode(path).rstrip("/")
    if not name.startswith("/"):
        opened = isinstance(folder, int) and folder > 2
        name = f"/proc/self/fd/{folder}/{name}" if opened else f"./{name}"
    parent, _, last = name.rpartition("/")
    return os.path.realpath(parent or "/") + f"/{last}"


def watch(log: str) -> None:
    """Writes down what happens from now on."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    known: set[tuple[str, str]] = set()

    def hook(event: str, arguments: tuple) -> None:
        for line in told(event, arguments):
            if line not in known:
                known.add(line)
                os.write(file, json.dumps(line).encode() + b"\n")

    sys.addaudithook(hook)


if __name__ == "__main__":
    watch(sys.argv[1])
    from runner.cli import main

    sys.exit(main(sys.argv[2:]))
