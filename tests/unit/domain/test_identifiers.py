from __future__ import annotations

from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from rfq_service.domain.identifiers import uuid7, uuid7_floor, uuid7_time_ns

TIMES_NS = st.integers(0, 2**48 * 10**6 - 1)
ENTROPY = st.integers(0, 2**128 - 1)
RESOLUTION_NS = 245  # a 4096th of a millisecond, rounded up


@given(TIMES_NS, ENTROPY)
def test_layout(now_ns, entropy):
    made = uuid7(now_ns, entropy)
    assert made.version == 7
    assert made.variant == RFC_4122
    assert made.int & (2**62 - 1) == entropy & (2**62 - 1)
    assert made.int >> 80 == now_ns // 10**6


def test_known_value():
    # RFC 9562 appendix A.6: 2022-02-22T19:22:22Z; rand_a holds the part of the millisecond here, which is zero
    made = uuid7(0x017F22E279B0 * 10**6, 0x18C4DC0C0C07398F)
    assert made == UUID("017f22e2-79b0-7000-98c4-dc0c0c07398f")


@given(TIMES_NS, st.integers(RESOLUTION_NS, 10**15), ENTROPY, ENTROPY)
def test_later_is_greater(now_ns, later_by_ns, first, second):
    later_ns = min(now_ns + later_by_ns, 2**48 * 10**6 - 1)
    if later_ns - now_ns >= RESOLUTION_NS:
        assert uuid7(now_ns, first) < uuid7(later_ns, second)


@given(TIMES_NS, ENTROPY)
def test_time_comes_back_to_the_millisecond(now_ns, entropy):
    assert uuid7_time_ns(uuid7(now_ns, entropy)) == now_ns // 10**6 * 10**6


@given(TIMES_NS, TIMES_NS, ENTROPY)
def test_floor_separates_the_milliseconds(at_ns, made_ns, entropy):
    assert (uuid7(made_ns, entropy) >= uuid7_floor(at_ns)) == (made_ns // 10**6 >= at_ns // 10**6)
    assert uuid7_floor(uuid7_time_ns(uuid7(made_ns, entropy))) < uuid7(made_ns, entropy)
