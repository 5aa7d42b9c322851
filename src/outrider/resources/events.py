"""What a client's events may hold on this server, beyond their types. What the session's state allows is session/'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outrider.errors import InvalidRequest, NotFound, NotSupported
from outrider.ports.files import FileRecord
from outrider.session.named import files_in, naming

PROMPTS = ("user.message", "system.message")
PDF = "application/pdf"
IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
MOST_NAMED_BYTES = 22 * 1024**2
"""Of all files in a request to a model, which takes 32 MB: in base64 they are a third larger."""
MOST_INITIAL_DOCUMENTS = 100


def check_offered(events: Sequence[Mapping[str, Any]], *, field: str = "events") -> None:
    """Raises NotSupported for outcomes, InvalidRequest for a prompt without text."""
    for index, event in enumerate(events):
        if event["type"] == "user.define_outcome":
            raise NotSupported(f"{field}.{index}: user.define_outcome is not offered by this server yet")
        for place, block in enumerate(event.get("content", ())):
            _check_block(block, f"{field}.{index}.content.{place}", prompt=event["type"] in PROMPTS)


def _check_block(block: Mapping[str, Any], field: str, *, prompt: bool) -> None:
    if prompt and block["type"] == "text" and not block["text"].strip():
        # models refuse such a block, and would go on refusing it with the history of every later turn
        raise InvalidRequest(f"{field}.text: Input should have text besides white space")


def named_files(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ids of all files that the events' content names."""
    return list(dict.fromkeys(file_id for event in events for file_id in files_in(event.get("content") or ())))


def check_documents(events: Sequence[Mapping[str, Any]]) -> None:
    """Raises InvalidRequest for more documents from files than a session may begin with."""
    blocks = [block for event in events for block in naming(event.get("content") or ())]
    if sum(block["type"] == "document" for block in blocks) > MOST_INITIAL_DOCUMENTS:
        raise InvalidRequest(f"initial_events: at most {MOST_INITIAL_DOCUMENTS} documents may come from files")


def check_named(
    events: Sequence[Mapping[str, Any]], files: Mapping[str, FileRecord], now: str, *, field: str = "events"
) -> dict[str, dict[str, Any]]:
    """What the log says of each file that is named. Raises NotFound, InvalidRequest."""
    left = MOST_NAMED_BYTES
    for index, event in enumerate(events):
        for place, block in enumerate(event.get("content") or ()):
            if any(naming([block])):
                where = f"{field}.{index}.content.{place}.source.file_id"
                left -= _checked(block, files.get(block["source"]["file_id"]), now, where)
                if left < 0:
                    raise InvalidRequest(f"{where}: files for the model hold at most {MOST_NAMED_BYTES} bytes together")
    return {file.id: {"media_type": file.mime_type, "size": file.size} for file in files.values()}


def _checked(block: Mapping[str, Any], file: FileRecord | None, now: str, field: str) -> int:
    if file is None:
        raise NotFound(f"{field}: File {block['source']['file_id']} not found.")
    if not file.lasts(now):
        raise NotFound(f"{field}: File {file.id} has expired.", error_code="file_expired")
    image = block["type"] == "image"
    fits = file.mime_type in IMAGES if image else file.mime_type == PDF or file.mime_type.startswith("text/")
    if not fits:
        wanted = ", ".join(IMAGES) if image else f"{PDF} or a text"
        raise InvalidRequest(f"{field}: File {file.id} is {file.mime_type}; a block of this type wants {wanted}")
    return file.size
