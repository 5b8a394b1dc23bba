"""Products of many rows by onnxruntime: of 8-bit codes, and half precision widened.

Its kernels are vectorised for AVX2, AVX-512, VNNI and NEON alike; it is loaded for large galleries
only.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embeddings

BLOCK = 128
"""Columns that share a scale in `Prepared`; the first of each is its guard."""
ZERO = 128
"""The byte of 0 in a row; a query's is 0."""
LARGEST_CODE = 127
"""-128 is not used, so that signs are symmetric."""
LARGEST_AT_ONCE = 64
"""Of a query in `at_once`: without VNNI, sums of two products saturate from 2 · 255 · 65 on."""
_FLOAT, _UINT8, _INT8, _INT32, _HALF = 1, 2, 3, 6, 10  # ONNX's numbers of types.

Codes = NDArray[np.int8]
"""Of queries, shape (q, columns)."""
Products = Callable[[Codes], Embeddings]
"""Of queries and all rows, shape (q, rows): whole numbers, to half of one."""


def widened(rows: NDArray[np.float16]) -> Embeddings:
    """The rows in single precision."""
    to_float = _field(1, b"to") + _field(3, _FLOAT) + _field(20, 2)
    session = _session(b"Cast", (_HALF,), _FLOAT, _field(5, to_float))
    return np.asarray(session.run(None, {"a": rows})[0])


def at_once(rows: NDArray[np.uint8]) -> Products:
    """Products with rows, shape (n, columns), that nothing has been prepared for."""
    session = _session(b"MatMulInteger", (_UINT8, _INT8), _INT32)

    def products(queries: Codes) -> Embeddings:
        columns = np.ascontiguousarray(queries.T)
        found = session.run(None, {"a": rows, "b": columns})[0] - ZERO * columns.sum(0, np.int32)
        return np.ascontiguousarray(found.T, dtype=np.float32)

    return products


def prepared(rows: NDArray[np.uint8]) -> Products:
    """Products five times as fast, with a rearranged copy of the rows in memory.

    onnxruntime rounds a query to codes of its own, 127 for the largest of each block. Guards make
    that the identity: 127 in the query, 0 in every row.
    """
    shape = len(rows), rows.shape[1] // BLOCK
    constants = {"b": rows.reshape(*shape, BLOCK), "c": np.ones(shape, dtype=np.float32).ravel()}
    numbers = {b"K": rows.shape[1], b"N": len(rows), b"bits": 8, b"block_size": BLOCK}
    # At level 4 queries are rounded to eight bits.
    attributes = b"".join(
        _field(5, _field(1, name) + _field(3, number) + _field(20, 2))
        for name, number in {**numbers, b"accuracy_level": 4}.items()
    )
    attributes += _field(7, b"com.microsoft")
    session = _new_session(b"MatMulNBits", (_FLOAT,), _FLOAT, attributes, constants)

    def products(queries: Codes) -> Embeddings:
        guarded = queries.astype(np.float32)
        guarded[:, ::BLOCK] = LARGEST_CODE
        return np.asarray(session.run(None, {"a": guarded})[0])

    return products


@cache
def exact(of: Callable[[NDArray[np.uint8]], Products], largest: int) -> bool:
    """Whether such products are exact on this processor: saturated sums are wrong in silence."""
    rows = np.full((259, 4 * BLOCK), 255, dtype=np.uint8)
    rows[::3] = 1
    rows[1::3] = np.random.default_rng(0).integers(1, 256, rows[1::3].shape)
    rows[:, ::BLOCK] = ZERO
    queries = np.full((17, rows.shape[1]), largest, dtype=np.int8)
    queries[1::2] *= -1
    queries[2, ::2] *= -1
    queries[3] = np.random.default_rng(1).integers(-largest, largest + 1, rows.shape[1])
    expected = queries.astype(np.int64) @ (rows.astype(np.int64) - ZERO).T
    try:
        found = [of(rows)(queries), of(rows)(queries[3:4])]
    except RuntimeError:  # An onnxruntime that lacks the operator.
        return False
    return all(
        np.abs(one - some).max() < 0.5
        for one, some in zip(found, (expected, expected[3:4]), strict=True)
    )


@cache
def _session(operator: bytes, inputs: tuple[int, ...], output: int, attributes: bytes = b"") -> Any:
    return _new_session(operator, inputs, output, attributes, {})


def _new_session(
    operator: bytes,
    inputs: tuple[int, ...],
    output: int,
    attributes: bytes,
    constants: dict[str, NDArray[Any]],
) -> Any:
    """An operator whose first inputs are named a, b …, then the constants."""
    import faiss
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = faiss.omp_get_max_threads()
    # Or its threads wait for the next product at full load.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Buffers stay only where one product follows another; constants are in none.
    options.enable_cpu_mem_arena = bool(constants)
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in constants.values()]
    options.add_external_initializers([*constants], values)
    model = _model(operator, inputs, output, attributes, constants)
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    session.constants = constants  # They are read where they are.
    return session


def _model(
    operator: bytes,
    inputs: tuple[int, ...],
    output: int,
    attributes: bytes,
    constants: dict[str, NDArray[Any]],
) -> bytes:
    """An ONNX file of one operator (onnx.proto says which field has which number)."""
    names = (b"a", b"b")[: len(inputs)]
    taken = (*names, *(name.encode() for name in constants))
    node = b"".join(_field(1, name) for name in taken) + _field(2, b"y")
    graph = _field(1, node + _field(4, operator) + attributes) + _field(2, b"g")
    for field, name, kind in (*zip((11, 11), names, inputs, strict=False), (12, b"y", output)):
        graph += _field(field, _field(1, name) + _field(2, _field(1, _field(1, kind))))
    for constant, array in constants.items():  # Their values are given beside the file.
        tensor = b"".join(_field(1, size) for size in array.shape)
        tensor += _field(2, _FLOAT if array.dtype == np.float32 else _UINT8)
        elsewhere = _field(1, b"location") + _field(2, b"memory")
        tensor += _field(8, constant.encode()) + _field(13, elsewhere) + _field(14, 1)
        graph += _field(5, tensor)
    model = _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))  # IR 8, operator set 13.
    return model + _field(8, _field(1, b"com.microsoft") + _field(2, 1))


def _field(number: int, content: bytes | int) -> bytes:
    """A field of a Protocol Buffers message."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    low = number & 127
    return bytes([low | 128]) + _varint(number >> 7) if number > 127 else bytes([low])
