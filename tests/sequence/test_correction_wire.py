"""The binary form: sizes, round trips, and bytes that are anything else."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.sequence.correction_wire import (
    MAX_ITEMS,
    MAX_SEQ_NO,
    Answer,
    Upload,
    WireError,
    array_of_bytes,
    bytes_of_array,
)

VERSION = "0123456789abcdef"


def upload(rows: int = 10, columns: int = 64, **changes: object) -> Upload:
    values = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
    return Upload(**{"model_version": VERSION, "session": "kq3v", "seq_no": 7, "values": values, **changes})


def answer(dtype: str = "f16") -> Answer:
    generator = np.random.default_rng(1)
    attention = generator.standard_normal((4, 10, 10)).astype(np.float32)
    bias = generator.standard_normal((4, 10, 16)).astype(np.float32)
    return Answer(VERSION, 7, 30, attention, bias, 0.25, -0.5, dtype)


def test_sizes_are_those_of_the_documentation():
    assert len(upload().to_bytes()) == 72 + 1280
    assert len(upload(dtype="f32").to_bytes()) == 72 + 2560
    assert len(upload(2, 64, kind="summary").to_bytes()) == 72 + 256
    assert len(answer().to_bytes()) == 48 + 2080


@pytest.mark.parametrize(("dtype", "tolerance"), [("f16", 2e-3), ("f32", 0)])
def test_what_is_written_is_read(dtype, tolerance):
    sent = upload(dtype=dtype, seq_no=MAX_SEQ_NO, kind="hidden")
    read = Upload.from_bytes(sent.to_bytes())
    assert (read.model_version, read.session, read.seq_no) == (VERSION, "kq3v", MAX_SEQ_NO)
    assert (read.kind, read.dtype, read.values.dtype) == ("hidden", dtype, np.float32)
    np.testing.assert_allclose(read.values, sent.values, atol=tolerance)
    told = answer(dtype)
    heard = Answer.from_bytes(told.to_bytes())
    assert (heard.model_version, heard.seq_no, heard.ttl_steps, heard.dtype) == (VERSION, 7, 30, dtype)
    assert (heard.attention_weight, heard.bias_weight) == (0.25, -0.5)
    np.testing.assert_allclose(heard.attention, told.attention, atol=tolerance)
    np.testing.assert_allclose(heard.bias, told.bias, atol=tolerance)


def test_the_layout_is_the_documented_one():
    body = upload(1, 2, values=np.array([[1.0, -2.0]], np.float32), kind="summary").to_bytes()
    assert body[:4] == b"PCQ1"
    assert body[4:8] == bytes([1, 0, 0, 0])
    assert struct.unpack("<IIQ", body[8:24]) == (1, 2, 7)
    assert body[24:40] == VERSION.encode()
    assert body[40:72] == b"kq3v".ljust(32, b"\0")
    assert body[72:] == bytes.fromhex("003c00c0")  # 1 and -2 as little-endian float16
    told = answer().to_bytes()
    assert told[:4] == b"PCA1"
    assert struct.unpack("<HHHIQff", told[6:32]) == (4, 10, 16, 30, 7, 0.25, -0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e6])
def test_numbers_that_cannot_travel_are_refused_before_they_are_sent(value):
    values = np.ones((2, 3), np.float32)
    values[1, 1] = value
    with pytest.raises(WireError, match="not finite in f16"):
        upload(values=values).to_bytes()


@pytest.mark.parametrize(
    ("change", "mention"),
    [
        (lambda body: body[:50], "50 bytes; its header alone has 72"),
        (lambda body: body[:-1], "1279 bytes; \\[10, 64\\] in f16 are 1280"),
        (lambda body: body + b"x", "1281 bytes"),
        (lambda body: b"PCQ2" + body[4:], "magic PCQ1"),
        (lambda body: body[:4] + b"\7" + body[5:], "does not begin like an upload"),
        (lambda body: body[:5] + b"\7" + body[6:], "does not begin like an upload"),
        (lambda body: body[:8] + struct.pack("<I", MAX_ITEMS + 1) + body[12:], "1001 rows; at most 1000"),
        (lambda body: body[:8] + b"\xff" * 8 + body[16:], "at most 1000"),
        (lambda body: body[:16] + b"\xff" * 8 + body[24:], "seq_no"),
        (lambda body: body[:24] + b"\0" * 16 + body[40:], "model_version is not made of letters"),
        (lambda body: body[:40] + b"a\nb".ljust(32, b"\0") + body[72:], "session is not made of letters"),
        (lambda body: body[:72] + b"\x00\x7c" + body[74:], "NaN or infinite"),
        (lambda body: body[:72] + b"\x00\x7e" + body[74:], "NaN or infinite"),
    ],
)
def test_other_bytes_are_refused_with_what_is_wrong(change, mention):
    with pytest.raises(WireError, match=mention):
        Upload.from_bytes(change(upload().to_bytes()))


@pytest.mark.parametrize(
    ("at", "mention"),
    [(0, "begin like an answer"), (4, "begin like"), (5, "begin like"), (6, "bytes; \\["), (40, "model_version")],
)
def test_a_damaged_answer_is_refused(at, mention):
    body = bytearray(answer().to_bytes())
    body[at] ^= 0xFF
    with pytest.raises(WireError, match=mention):
        Answer.from_bytes(bytes(body))


def test_weights_that_are_not_finite_are_refused():
    body = answer().to_bytes()
    for at in (24, 28):
        with pytest.raises(WireError, match="finite numbers"):
            Answer.from_bytes(body[:at] + struct.pack("<f", np.nan) + body[at + 4 :])


@given(st.binary(max_size=200), st.sampled_from([b"", b"PCQ1", b"PCQ1\0\0\0\0", b"PCA1"]))
def test_any_bytes_are_refused_or_read_never_anything_else(body, start):
    for form in (Upload, Answer):
        try:
            read = form.from_bytes(start + body)
        except WireError:
            continue
        assert read.to_bytes() == start + body


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 33, "a\n"])
def test_names_that_cannot_be_sent_are_refused(name):
    with pytest.raises(WireError, match="session"):
        upload(session=name).to_bytes()


def test_arrays_of_the_wrong_length_are_refused():
    with pytest.raises(WireError, match="4 bytes; \\[3\\] in f16 are 6"):
        array_of_bytes(bytes_of_array(np.ones(2, np.float32), "f16"), "f16", (3,))


def test_a_device_needs_neither_torch_nor_pydantic():
    code = (
        "import sys, palate.device.correction_client\n"
        "print(sorted({'torch', 'pydantic', 'fastapi', 'polars', 'pyarrow', 'scipy'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
