"""Pair similarities of triplets, gathered from an embedding that may be larger than memory: a fused numba kernel.

The kernel reads each of the three rows once, converts float16 in registers and writes three float32 numbers, so it
needs no memory except for its result. The processor cannot predict which rows come next, so float16 rows are prefetched
AHEAD triplets early: this is 1.2 times as fast. float32 rows are not prefetched, which would take 1.3 times as long.
bench/tasks/synthesis.py compares the kernel with methods that copy the rows first, and with itself without prefetching.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

AHEAD = {"float16": 2, "float32": 0}  # triplets; into the second-level cache; 0: nothing is asked for
LINE = 64  # bytes of a cache line


def pair_similarities(embeddings: np.ndarray, triplets: np.ndarray, chunk: int = 1 << 18) -> np.ndarray:
    """Dot products of the pair that is left when each image is taken out, (n, 3) float32.

    They are in odd-one-out order: entry 0 belongs to images 1 and 2, entry 1 to 0 and 2, entry 2 to 0 and 1.

    Args: embeddings: (n_images, dim) float16 or float32, in memory or memory-mapped, rows contiguous; triplets: (n, 3)
        integers; chunk: number of triplets that are copied at a time.
    Raises: IndexError naming the first triplet outside the embedding; TypeError for another type of number.
    """
    if embeddings.dtype not in (np.float16, np.float32):
        raise TypeError(f"embeddings must be float16 or float32, not {embeddings.dtype}")
    rows = embeddings.view(np.uint16) if embeddings.dtype == np.float16 else embeddings
    kernel = _half if embeddings.dtype == np.float16 else _single
    similarities = np.empty((len(triplets), 3), np.float32)
    for start in range(0, len(triplets), chunk):
        numbers = np.ascontiguousarray(triplets[start : start + chunk], dtype=np.int64)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(embeddings)):
            outside = ((numbers < 0) | (numbers >= len(embeddings))).any(1)
            raise IndexError(f"triplet {start + int(outside.argmax())} is outside the {len(embeddings)} pictures")
        kernel(rows, numbers, similarities[start : start + chunk], AHEAD[embeddings.dtype.name])
    return similarities


@intrinsic
def _half_to_single(_context, _bits):
    """The float16 number in 16 bits as float32, by an instruction that numba does not offer for float16 arrays."""

    def emit(_codegen, builder, _signature, arguments):
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), emit


@intrinsic
def _ask_for(_context, _address):
    """Begin to load the cache line at this address, without waiting for it; any address is allowed."""

    def emit(context, builder, _signature, arguments):
        pointer, number = ir.PointerType(ir.IntType(8)), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, second_level, data = (ir.Constant(number, value) for value in (0, 2, 1))
        builder.call(function, [builder.inttoptr(arguments[0], pointer), read, second_level, data])
        return context.get_dummy_value()

    return types.void(types.uintp), emit


@numba.njit
def _ask_for_rows(rows, triplet):
    for place in range(3):
        first = rows.ctypes.data + triplet[place] * rows.strides[0]
        for byte in range(0, rows.shape[1] * rows.itemsize, LINE):
            _ask_for(types.uintp(first + byte))


# 'reassoc' lets the compiler add in vector lanes; the order is fixed when the kernel is compiled, not when it runs.
@numba.njit(parallel=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _half(rows, triplets, found, ahead):
    for t in numba.prange(len(triplets)):
        if ahead:
            _ask_for_rows(rows, triplets[min(t + ahead, len(triplets) - 1)])
        first, second, third = rows[triplets[t, 0]], rows[triplets[t, 1]], rows[triplets[t, 2]]
        s01 = s02 = s12 = np.float32(0)
        for d in range(rows.shape[1]):
            a, b, c = _half_to_single(first[d]), _half_to_single(second[d]), _half_to_single(third[d])
            s01 += a * b
            s02 += a * c
            s12 += b * c
        found[t, 0], found[t, 1], found[t, 2] = s12, s02, s01


@numba.njit(parallel=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _single(rows, triplets, found, ahead):
    for t in numba.prange(len(triplets)):
        if ahead:
            _ask_for_rows(rows, triplets[min(t + ahead, len(triplets) - 1)])
        first, second, third = rows[triplets[t, 0]], rows[triplets[t, 1]], rows[triplets[t, 2]]
        s01 = s02 = s12 = np.float32(0)
        for d in range(rows.shape[1]):
            a, b, c = first[d], second[d], third[d]
            s01 += a * b
            s02 += a * c
            s12 += b * c
        found[t, 0], found[t, 1], found[t, 2] = s12, s02, s01
