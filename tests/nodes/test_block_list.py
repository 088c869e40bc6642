"""What the dense_blocks input and the keys of `blocks` mean."""

import pytest

from psa_kernels.config import block_list_text, parse_block_list


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("", set()),
        (" , ;\n", set()),
        ("0", {0}),
        ("0, 1, 38-39", {0, 1, 38, 39}),
        ("3-3;2 - 4 , 07", {2, 3, 4, 7}),
        ("0-9999", set(range(10_000))),
    ],
)
def test_numbers_and_ranges(text, blocks):
    assert parse_block_list(text) == blocks
    assert parse_block_list(block_list_text(blocks)) == blocks


def test_the_shortest_text():
    assert block_list_text([3, 0, 1, 39, 38, 5]) == "0-1, 3, 5, 38-39"
    assert block_list_text([]) == ""


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("-1", "-1"), ("1-", "1-"), ("5-2", "5-2"), ("1--2", "1--2"), ("1.5", "1.5"),
        ("0, first", "first"), ("1 2", "1 2"), ("10000", "10000"), ("1-2-3", "1-2-3"),
        ("0x1", "0x1"), ("١٢", "١٢"), ("9" * 5000, "9999"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(text, part):
    with pytest.raises(ValueError, match="cannot read") as caught:
        parse_block_list(text)
    assert part in str(caught.value)
    assert len(str(caught.value)) < 400
