"""The mask that keeps a key out of what comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from outrider.proxy.mask import Mask

few = st.binary(max_size=40).map(lambda data: bytes(b % 3 + 97 for b in data))


@given(st.lists(few), few.filter(bool))
def test_masking_a_stream_is_masking_the_whole_however_it_is_cut(chunks: list[bytes], secret: bytes) -> None:
    mask = Mask(secret)
    masked = b"".join(mask.feed(chunk) for chunk in chunks) + mask.rest()
    whole = b"".join(chunks)
    assert masked == whole.replace(secret, b"*" * len(secret))
    assert secret not in masked


@given(st.lists(st.binary()))
def test_without_a_secret_everything_passes_at_once(chunks: list[bytes]) -> None:
    mask = Mask(b"")
    assert [mask.feed(chunk) for chunk in chunks] == chunks
    assert mask.rest() == b""


def test_nothing_is_held_back_that_can_not_begin_the_secret() -> None:
    assert Mask(b"sk-secret").feed(b"data: hello\n\n") == b"data: hello\n\n"
