"""Products of many queries by onnxruntime: 8-bit codes, and half precision widened.

Its kernels are vectorised for AVX2, AVX-512, VNNI and NEON alike; it is loaded for batches and for
half precision in large galleries only.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embeddings

LARGEST_CODE = 64
"""Of a query: without VNNI, sums of two products saturate from 2 · 255 · 65 on."""
_FLOAT, _UINT8, _INT8, _INT32, _HALF = 1, 2, 3, 6, 10  # ONNX's numbers of types.


def widened(rows: NDArray[np.float16]) -> Embeddings:
    """The rows in single precision."""
    to_float = _field(1, b"to") + _field(3, _FLOAT) + _field(20, 2)
    return np.asarray(_run(b"Cast", (_HALF,), _FLOAT, (rows,), _field(5, to_float)))


def code_products(rows: NDArray[np.uint8], queries: NDArray[np.int8]) -> NDArray[np.int32]:
    """Inner products of rows (n, dim) and queries (q, dim), shape (n, q)."""
    columns = np.ascontiguousarray(queries.T)
    return np.asarray(_run(b"MatMulInteger", (_UINT8, _INT8), _INT32, (rows, columns)))


@cache
def are_exact() -> bool:
    """Whether `code_products` are exact here: saturated sums would be wrong in silence."""
    rows = np.full((256, 256), 255, dtype=np.uint8)
    queries = np.full((16, 256), LARGEST_CODE, dtype=np.int8)
    queries[1::2] *= -1
    exact = rows.astype(np.int32) @ queries.T.astype(np.int32)
    return np.array_equal(code_products(rows, queries), exact)


def _run(
    operator: bytes,
    inputs: tuple[int, ...],
    output: int,
    arrays: tuple[NDArray[Any], ...],
    attribute: bytes = b"",
) -> Any:
    session = _session(operator, inputs, output, attribute)
    return session.run(None, dict(zip("ab", arrays, strict=False)))[0]


@cache
def _session(operator: bytes, inputs: tuple[int, ...], output: int, attribute: bytes) -> Any:
    import faiss
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = faiss.omp_get_max_threads()
    # Or its threads wait for the next product at full load, and its buffers stay.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    model = _model(operator, inputs, output, attribute)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _model(operator: bytes, inputs: tuple[int, ...], output: int, attribute: bytes) -> bytes:
    """An ONNX file of one operator (onnx.proto says which field has which number)."""
    names = (b"a", b"b")[: len(inputs)]
    node = b"".join(_field(1, name) for name in names) + _field(2, b"y")
    graph = _field(1, node + _field(4, operator) + attribute) + _field(2, b"g")
    for field, name, kind in (*zip((11, 11), names, inputs, strict=False), (12, b"y", output)):
        graph += _field(field, _field(1, name) + _field(2, _field(1, _field(1, kind))))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))  # IR 8, operator set 13.


def _field(number: int, content: bytes | int) -> bytes:
    """A field of a Protocol Buffers message; everything here is shorter than 128 bytes."""
    key = number << 3 | isinstance(content, bytes) * 2
    start = bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])
    if isinstance(content, int):
        return start + bytes([content])
    return start + bytes([len(content)]) + content
