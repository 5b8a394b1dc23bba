"""Keys of photographs' names: the many names of one photograph."""

from img2loc.data.photo_names import SeenIds
from tests.archives import (
    mp16_name,
)


def test_an_id_is_seen_once_however_it_is_written() -> None:
    seen, known = SeenIds(), set()
    for start in range(0, 5000, 37):  # Blocks of many lengths, so that all ways of merging happen.
        block = [mp16_name(n % 3000) for n in range(start, start + start % 91)]
        expected = []
        for identity in block:
            expected.append(identity in known)
            known.add(identity)
        assert seen.add(block) == expected
    assert seen.add([mp16_name(5).replace("/", "_"), "never", "never"]) == [True, False, True]
    assert seen.add([]) == []
