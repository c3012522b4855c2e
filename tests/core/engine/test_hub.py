"""Models by name, against a hub on this machine: what is fetched, resumed, kept, and how failures read."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from kit import checkpoints

from lumen_core.engine.hub import HubName, choose, fetch, hub_name
from lumen_core.engine.sources import open_model
from lumen_core.errors import LumenError, ModelFormatError
from lumen_core.plugins.registry import Registry

COMMIT = "a" * 40
OTHER = "b" * 40


@dataclass
class Hub:
    """Repositories as tables of files, and what was asked for."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    break_after: int | None = None


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", headers.pop("Length", str(len(body))))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            hub.tokens.append(self.headers.get("Authorization"))
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                return self.listing("/".join(parts[2:4]), parts[4:])
            if len(parts) > 4 and parts[2] == "resolve":
                return self.file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            return self.answer(404)

        do_HEAD = do_GET

        def refuse(self, repository: str, revision: str) -> bool:
            if repository in hub.gated:
                self.answer(403, b"", X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
            elif repository not in hub.repositories:
                self.answer(404, b"", X_Error_Code="RepoNotFound", X_Error_Message="Not found")
            elif revision not in ("main", COMMIT, "v1"):
                self.answer(404, b"", X_Error_Code="RevisionNotFound", X_Error_Message="No such revision")
            else:
                return False
            return True

        def listing(self, repository: str, rest: list[str]) -> None:
            if self.refuse(repository, rest[1] if len(rest) > 1 else "main"):
                return
            files = [{"rfilename": name} for name in hub.repositories[repository]]
            content = {"id": repository, "sha": COMMIT, "siblings": files}
            self.answer(200, json.dumps(content).encode(), Content_Type="application/json")

        def file(self, repository: str, revision: str, name: str) -> None:
            if self.refuse(repository, revision):
                return None
            data = hub.repositories[repository].get(name)
            if data is None:
                return self.answer(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
            tag = f'"{hashlib.sha1(data).hexdigest()}"'
            start = 0
            if (wanted := self.headers.get("Range")) is not None:
                start = int(wanted.removeprefix("bytes=").split("-")[0])
                hub.ranges.append(wanted)
            body = data[start:]
            headers = {"ETag": tag, "X_Repo_Commit": OTHER if revision == "v1" else COMMIT}
            if self.command == "GET" and hub.break_after is not None:
                body, hub.break_after, whole = body[: hub.break_after], None, len(body)
                self.answer(206 if start else 200, body, Length=str(whole), **headers)
                self.wfile.flush()
                self.connection.close()
                return None
            return self.answer(206 if start else 200, body, **headers)

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    from huggingface_hub import constants

    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 14)  # 10 MB: nothing smaller is resumed
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield hub
    server.shutdown()
    server.server_close()


def folder_files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_checkpoint_is_fetched_once_and_runs(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = folder_files(checkpoints.write(tmp_path / "source", "qwen2", shards=2))
    extra = {"pytorch_model.bin": b"\x80", "README.md": b"#", "original/x.safetensors": b"x"}
    hub.repositories["org/tiny"] = files | extra
    seen: list[Any] = []
    registry = Registry.load()
    with open_model("org/tiny", registry, lambda *event: seen.append(event)) as file:
        assert file.architecture == "qwen2" and file.tensors["output.weight"].shape == (checkpoints.ROWS, 64)
    assert seen[-1] == ("fetching org/tiny", 7, 7)
    assert not any("bin" in line or "README" in line or "original" in line for line in hub.asked)
    assert "Bearer hf_secret" in hub.tokens
    fetched = sum(line.startswith("GET /org") for line in hub.asked)
    with open_model("hf:org/tiny", registry):
        pass
    assert sum(line.startswith("GET /org") for line in hub.asked) == fetched
    from huggingface_hub import constants

    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with open_model("org/tiny", registry) as file:
        assert file.architecture == "qwen2"
    assert hub.asked == []
    with pytest.raises(LumenError, match="not in the local cache"):
        open_model("org/other", registry)


def test_a_broken_transfer_is_taken_up_again(hub: Hub) -> None:
    data = bytes(range(256)) * 2000
    hub.repositories["org/one"] = {"one-Q8_0.gguf": data}
    hub.break_after = 100_000
    assert fetch(HubName("org/one")).read_bytes() == data
    assert len(hub.ranges) == 1  # from there on, not all anew


def test_what_was_stopped_is_taken_up_file_by_file(hub: Hub, tmp_path: Path) -> None:
    data = bytes(range(256)) * 8000
    names = [f"one-Q8_0-0000{part}-of-00002.gguf" for part in (1, 2)]
    hub.repositories["org/one"] = dict.fromkeys(names, data) | {names[1]: data[::-1]}
    seen: list[Any] = []

    def stop(*event: Any) -> None:
        seen.append(event)
        if event[0] == "file, MiB" and ("fetching org/one", 1, 2) in seen and event[1] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(HubName("org/one"), progress=stop)
    assert not list((tmp_path / "hub").rglob("*.incomplete"))
    hub.asked.clear()
    here = fetch(HubName("org/one"))
    assert here.read_bytes() == data and here.with_name(names[1]).read_bytes() == data[::-1]
    assert [line for line in hub.asked if line.startswith("GET /org")] == [
        f"GET /org/one/resolve/main/{names[1]}"
    ]
    assert ("file, MiB", 1, 1) in seen


def test_the_command_line_runs_a_model_by_name(
    hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from lumen_core.cli.main import main

    def lumen(*arguments: str) -> int | str | None:
        try:
            return main(list(arguments))
        except SystemExit as end:
            return end.code

    hub.repositories["org/tiny"] = folder_files(checkpoints.write(tmp_path / "source", "qwen3"))
    arguments = ("run", "org/tiny@v1", "hi", "-n", "4", "--seed", "1", "--json")
    assert lumen(*arguments) == 0
    first = json.loads(capfd.readouterr().out)
    assert len(first["tokens"]) == 4 and any("/resolve/v1/" in line for line in hub.asked)
    assert lumen(*arguments) == 0
    assert json.loads(capfd.readouterr().out)["tokens"] == first["tokens"]
    hub.gated.add("org/closed")
    assert lumen("run", "org/closed", "hi") == 1
    error = capfd.readouterr().err
    assert error.startswith("error: org/closed: its license must be accepted first; open http://127.0.0.1")
    assert lumen("inspect", "hf:org/../x") == 1


def test_a_revision_is_kept_apart(hub: Hub) -> None:
    hub.repositories["org/one"] = {"one.gguf": b"GGUF"}
    assert COMMIT in str(fetch(HubName("org/one")))
    assert OTHER in str(fetch(HubName("org/one"), "v1"))
    with pytest.raises(LumenError, match="no revision 'v9'"):
        fetch(HubName("org/one"), "v9")
    assert OTHER in str(fetch(HubName("org/one", revision="v1")))


def test_failures_say_what_to_do(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated.add("org/gated")
    with pytest.raises(LumenError, match="license must be accepted"):
        fetch(HubName("org/gated"))
    with pytest.raises(LumenError, match="no such model on"):
        fetch(HubName("org/unknown"))
    hub.repositories["org/pictures"] = {"cat.png": b""}
    with pytest.raises(LumenError, match=r"neither safetensors nor GGUF files \(only .png\)"):
        fetch(HubName("org/pictures"))

    def unreachable(*arguments: object) -> list[str]:
        raise ConnectionError("no route")

    monkeypatch.setattr("lumen_core.engine.hub._listed", unreachable)  # the library itself tries for long
    with pytest.raises(LumenError, match="cannot be reached"):
        fetch(HubName("org/unreached"))


MODELS = [
    "a-Q4_K_M.gguf",
    "a-Q4_0.gguf",
    "a-Q4_0_4_4.gguf",
    "a-Q8_0-00001-of-00002.gguf",
    "a-Q8_0-00002-of-00002.gguf",
]


@pytest.mark.parametrize(
    ("files", "choice", "expected"),
    [
        (MODELS, "", ["a-Q4_K_M.gguf"]),
        (MODELS, "q4_0", ["a-Q4_0.gguf"]),
        (MODELS, "Q8_0", MODELS[3:]),
        (MODELS, "a-Q4_0.gguf", ["a-Q4_0.gguf"]),
        (["sub/b-IQ2_M.gguf"], "", ["sub/b-IQ2_M.gguf"]),
        (
            ["config.json", "model.safetensors", "x.gguf", "a/b.json"],
            "",
            ["config.json", "model.safetensors"],
        ),
        (["config.json", "model.safetensors", "x-q8_0.gguf"], "q8_0", ["x-q8_0.gguf"]),
    ],
)
def test_the_right_files_are_chosen(files: list[str], choice: str, expected: list[str]) -> None:
    assert choose(files, HubName("org/a", choice)) == expected


def test_a_wrong_choice_lists_what_there_is() -> None:
    with pytest.raises(LumenError, match="Q4_0, Q4_0_4_4, Q4_K_M, Q8_0"):
        choose(MODELS, HubName("org/a", "Q3_K"))


def test_names() -> None:
    assert hub_name("LGAI-EXAONE/EXAONE-4.0-1.2B") == HubName("LGAI-EXAONE/EXAONE-4.0-1.2B")
    assert hub_name("hf:skt/A.X-4.0-Light:Q4_K_M") == HubName("skt/A.X-4.0-Light", "Q4_K_M")
    assert hub_name("org/a@v1.0:x.gguf") == HubName("org/a", "x.gguf", "v1.0")
    assert hub_name("org/a@refs/pr/3") == HubName("org/a", revision="refs/pr/3")
    for path in (
        "demo",
        "./a/b",
        "../a",
        "a/b/c",
        "/a/b",
        "a/b.gguf",
        "a//b",
        "a/..",
        "~/a",
        "a\\b",
        "C:\\a",
    ):
        assert hub_name(path) is None, path
    for bad in ("hf:../../etc", "hf:a", "hf:a/b/c", "hf:a/..b", "hf:a/b:../c", "hf:a/b:/etc/passwd", "hf:",
                "hf:a/b@", "hf:a/b@../c", "hf:a/b@/c", "hf:a/b@c d"):  # fmt: skip
        with pytest.raises(ModelFormatError):
            hub_name(bad)
