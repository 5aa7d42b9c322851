"""What the model proxy does with a key, apart from passing it on."""

from __future__ import annotations

from outrider.proxy.model import Upstream


def test_a_real_key_is_masked_and_a_few_letters_are_not() -> None:
    assert Upstream("far", "https://far.test", "x-api-key", "sk-1234567890").masked() == b"sk-1234567890"
    assert Upstream("near", "http://127.0.0.1:11434", "x-api-key", "ollama").masked() == b""


def test_no_repr_shows_a_key() -> None:
    assert "sk-1234567890" not in repr(Upstream("far", "https://far.test", "x-api-key", "sk-1234567890"))
