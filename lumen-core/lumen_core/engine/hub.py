"""Models by name from a hub, through `huggingface_hub`.

In: `org/name` or `hf:org/name`, after an `@` a branch, tag or commit, and after a colon a file or a
quantization (`org/name@main:Q4_K_M`).  Out: a local path.
Cache, token, mirror, offline mode and resumption are that library's and configured as everywhere
(HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE); this module only chooses files and explains failures.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lumen_core.errors import LumenError, ModelFormatError

Progress = Callable[[str, int, int], None]
PREFIX = "hf:"
_NAME = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?/[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
)
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_SMALL = ("*.json", "*.jinja", "tokenizer.model")  # what a checkpoint needs besides its weights
_PREFERRED = ("q4_k_m", "q4_0", "q5_k_m", "q8_0", "q4_k_s", "q6_k", "bf16", "f16")
_ANSWER_SECONDS = 10.0  # that a hub may take to say which files there are
_PART = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)")


@dataclass(frozen=True)
class HubName:
    """`choice` is a file of the repository or a part of its name; empty: what there is."""

    repository: str
    choice: str = ""
    revision: str | None = None


def hub_name(text: str) -> HubName | None:
    """Read a name; None if it cannot be one (then it is a path)."""
    explicit = text.startswith(PREFIX)
    where, _, choice = text.removeprefix(PREFIX).partition(":")
    repository, at, revision = where.partition("@")
    valid = _NAME.fullmatch(repository) and ".." not in repository and "--" not in repository
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        valid = None
    if choice and (".." in choice or choice.startswith(("/", "\\")) or "\0" in choice):
        valid = None
    if not valid:
        if explicit:
            raise ModelFormatError(
                f"{text[:200]!r} is no name on the hub; write hf:organization/model[@revision][:file]"
            )
        return None
    if not explicit and not choice and re.search(r"\.(gguf|safetensors|json|lum)$", repository):
        return None  # a mistyped path
    return HubName(repository, choice, revision or None)


def fetch(name: HubName, revision: str | None = None, progress: Progress | None = None) -> Path:
    """Bring a model into the local cache and return its file or directory there."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    revision = revision or name.revision
    try:
        return _fetch(hub, name, revision, progress or _silent)
    except errors.GatedRepoError:
        raise LumenError(
            f"{name.repository}: its license must be accepted first; open {_endpoint(hub)}/"
            f"{name.repository} in a browser, agree, and log in with `hf auth login` or HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise LumenError(f"{name.repository} has no revision {revision!r}") from None
    except errors.RepositoryNotFoundError:
        raise LumenError(
            f"{name.repository}: no such file here and no such model on {_endpoint(hub)} "
            "(or a private one: log in with `hf auth login` or HF_TOKEN)"
        ) from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise LumenError(f"{name.repository} is not in the local cache and the hub cannot be asked: "
                         f"{_first_line(error)}") from None  # fmt: skip
    except errors.EntryNotFoundError as error:
        raise LumenError(f"{name.repository}: {_first_line(error)}") from None
    except errors.HfHubHTTPError as error:
        raise LumenError(f"{name.repository}: the hub answered: {_first_line(error)}") from None
    except (errors.HTTPError, ConnectionError, TimeoutError) as error:
        raise LumenError(
            f"{name.repository}: {_endpoint(hub)} cannot be reached ({_first_line(error)}); "
            "what is in the local cache runs without it"
        ) from None
    except errors.HFValidationError as error:
        raise LumenError(f"{name.repository}: {_first_line(error)}") from None


def _fetch(hub: Any, name: HubName, revision: str | None, progress: Progress) -> Path:
    files = _listed(hub, name, revision)
    chosen = choose(files, name)
    paths = []
    for number, file in enumerate(chosen):
        progress(f"fetching {name.repository}", number, len(chosen))
        here = hub.hf_hub_download(
            name.repository, file, revision=revision, endpoint=_endpoint(hub), cache_dir=_cache(),
            tqdm_class=_bar(progress),
        )  # fmt: skip
        paths.append(Path(here))
    progress(f"fetching {name.repository}", len(chosen), len(chosen))
    return paths[0] if chosen[0].endswith(".gguf") else paths[0].parent


def _bar(progress: Progress) -> type:
    """What the library shows its own progress with: ours, in MiB of the file that it fetches."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **{**options, "disable": True})
            self.n, self.total = options.get("initial") or 0, options.get("total") or 0

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            progress("file, MiB", int(self.n) >> 20, int(self.total) >> 20)

    return Bar


def _listed(hub: Any, name: HubName, revision: str | None) -> list[str]:
    """Names of the repository's files: as the hub says, or offline as the cache has them."""
    from huggingface_hub import constants, errors

    if not constants.HF_HUB_OFFLINE:
        try:
            # One question without repetitions: who has no network and the files does not wait for it.
            found = hub.HfApi(endpoint=_endpoint(hub)).model_info(
                name.repository, revision=revision, timeout=_ANSWER_SECONDS
            )
            return [file.rfilename for file in found.siblings or ()]
        except errors.HfHubHTTPError:
            raise
        except (errors.HTTPError, ConnectionError, TimeoutError):
            cached = _cached(name, revision)
            if not cached:
                raise
            return cached
    cached = _cached(name, revision)
    if not cached:
        raise errors.OfflineModeIsEnabled("offline mode is on (HF_HUB_OFFLINE)")
    return cached


def _cached(name: HubName, revision: str | None) -> list[str]:
    folder = _cache() / f"models--{name.repository.replace('/', '--')}"
    wanted = revision or "main"
    if ".." in wanted or wanted.startswith("/"):
        return []
    reference = folder / "refs" / wanted
    commit = reference.read_text().strip() if reference.is_file() else wanted
    snapshot = folder / "snapshots" / commit
    if not snapshot.is_dir():
        return []
    return sorted(str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file())


def choose(files: list[str], name: HubName) -> list[str]:
    """The files of a repository that make up the model that is asked for."""
    models = sorted(file for file in files if file.endswith(".gguf"))
    if name.choice:
        wanted = name.choice.lower()
        found = [file for file in models if file == name.choice or Path(file).name.lower() == wanted]
        found = found or [file for file in models if _says(file, wanted)]
        if not found:
            has = ", ".join(sorted({_label(file) for file in models})[:20]) or "no GGUF files"
            raise LumenError(f"{name.repository} has no file for {name.choice!r}; it has: {has}")
        return _whole(found, models)
    if "config.json" in files and any(file.endswith(".safetensors") for file in files):
        weights = [file for file in files if file.endswith(".safetensors") and "/" not in file]
        if "model.safetensors.index.json" in files:
            weights = [
                file for file in weights if re.fullmatch(r"model-\d+-of-\d+\.safetensors", file)
            ] or weights
        elif "model.safetensors" in weights:
            weights = ["model.safetensors"]
        small = [file for file in files if "/" not in file and any(fnmatchcase(file, p) for p in _SMALL)]
        return [*sorted(small), *sorted(weights)]
    for wanted in _PREFERRED:
        if found := [file for file in models if _says(file, wanted)]:
            return _whole(found, models)
    if models:
        return _whole(models[:1], models)
    kinds = ", ".join(sorted({Path(file).suffix for file in files if Path(file).suffix})[:10])
    raise LumenError(f"{name.repository} has neither safetensors nor GGUF files (only {kinds or 'nothing'})")


def _says(file: str, wanted: str) -> bool:
    """Whether a file's name has the word, not a longer one that contains it."""
    return re.search(rf"(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9]|_[a-z0-9])", file.lower()) is not None


def _whole(found: list[str], models: list[str]) -> list[str]:
    """All parts of the first file that was found, in order."""
    first = found[0]
    if not (match := _PART.search(first)):
        return [first]
    stem = first[: match.start()]
    return [file for file in models if file.startswith(stem) and _PART.search(file)]


def _label(file: str) -> str:
    return _PART.sub("", Path(file).name).removesuffix(".gguf").rsplit("-", 1)[-1]


def _endpoint(hub: Any) -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _silent(what: str, done: int, total: int) -> None:
    pass
