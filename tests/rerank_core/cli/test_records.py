from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core.cli._records import InputFormat, Record, read_records

CHARACTERS = st.text(st.characters(codec=None, categories=None))  # lone surrogates included
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | CHARACTERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CHARACTERS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def read(
    data: bytes, input_format: InputFormat = InputFormat.AUTO, *, with_priors: bool = False
) -> tuple[list[Record], list[tuple[int, str]]]:
    bad: list[tuple[int, str]] = []
    records = read_records(
        io.BytesIO(data),
        input_format,
        prior_field="score" if with_priors else None,
        reject=lambda number, reason: bad.append((number, reason)),
    )
    return records, bad


def line_of(record: Record, score: float | None) -> str:
    results = {} if score is None else {"relevance_score": score}
    return record.to_json(results, ["relevance_score"])


def the_record(line: str) -> Record:
    records, bad = read(line.encode(), InputFormat.JSONL)
    assert bad == []
    return records[0]


@given(
    fields=st.dictionaries(CHARACTERS, VALUES),
    text=CHARACTERS,
    score=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    separators=st.sampled_from([(", ", ": "), (",", ":"), (" \t,\r ", "  :\t")]),
)
def test_any_json_object_survives_with_its_order(
    fields: dict[str, object], text: str, score: float | None, separators: tuple[str, str]
) -> None:
    fields["text"] = text
    line = "  " + json.dumps(fields, separators=separators) + " "
    out = line_of(the_record(line), score)
    out.encode()  # no lone surrogate
    assert "\n" not in out
    stale = fields.pop("relevance_score", None)
    written = json.loads(out)
    if score is None:
        assert written == fields
    else:
        assert written.pop("relevance_score") == score
        assert written == fields
    if stale is None:
        assert list(written) == list(fields)


@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
)
def test_numbers_keep_every_digit(number: str) -> None:
    out = the_record(f'{{"id": {number}, "text": "a", "more": [{number}]}}')
    assert out.label == number
    assert line_of(out, 0.5) == (
        f'{{"id": {number}, "text": "a", "more": [{number}], "relevance_score": 0.5}}'
    )


def test_a_number_longer_than_python_reads_is_kept() -> None:
    digits = "7" * 5000
    assert digits in line_of(the_record(f'{{"text": "a", "n": {digits}}}'), 1.0)


def test_strings_keep_their_escapes_and_stay_readable() -> None:
    line = '{"text": "caf\\u00e9 \\ud800 \\u2028", "título": "año 🙂\u2028x", "\\udfff": "\\/"}'
    record = the_record(line)
    assert record.text == "café \ud800 \u2028"
    assert line_of(record, None) == line


def test_a_field_named_relevance_score_is_replaced_in_place_or_dropped() -> None:
    record = the_record('{"relevance_score": "old", "text": "a", "score": 3}')
    assert line_of(record, 1e-7) == '{"relevance_score": 1e-07, "text": "a", "score": 3}'
    assert line_of(record, None) == '{"text": "a", "score": 3}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "not JSON"),
        ('{"text": "a"', "not JSON"),
        ('{"text": "a"} x', "not JSON"),
        ('{"text": "a", "x": NaN}', "NaN is no JSON number"),
        ('{"text": "a", "x": [-Infinity]}', "-Infinity is no JSON number"),
        ('["text"]', "must be a JSON object, not ['text']"),
        ("3", "must be a JSON object"),
        ("{}", 'the field "text" is missing'),
        ('{"text": null}', '"text" must be a string, not None'),
        ('{"text": 1}', '"text" must be a string'),
        ('{"text": "a", "text": "b"}', "'text' is there twice"),
        ('{"text": "a", "x": {"y": 1, "y": 1}}', "'y' is there twice"),
        ('{"text": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"text": "raw\ttab"}', "not JSON"),
    ],
)
def test_a_bad_line_is_reported_with_its_number(line: str, reason: str) -> None:
    records, bad = read(f'{{"text": "good"}}\n\n{line}\n{{"text": "too"}}\n'.encode())
    assert [record.text for record in records] == ["good", "too"]
    assert [number for number, _ in bad] == [3]
    assert reason in bad[0][1]


def test_bytes_that_are_not_utf_8_are_a_bad_line() -> None:
    records, bad = read(b"good\nb\xffd\n")
    assert [record.text for record in records] == ["good"]
    assert bad == [(2, "not UTF-8: byte 0xff at 2")]


@pytest.mark.parametrize("score", ["null", '"3"', "true", "1e999", "[1]"])
def test_blending_needs_a_finite_score(score: str) -> None:
    line = f'{{"text": "a", "score": {score}}}'.encode()
    records, bad = read(line, with_priors=True)
    assert records == []
    assert '"score"' in bad[0][1]
    records, bad = read(line)  # nobody asked for the score
    assert bad == []
    assert records[0].prior is None


def test_scores_are_read_when_blending() -> None:
    records, bad = read(
        b'{"text": "a", "score": 3}\n{"text": "b", "score": -2.5}', with_priors=True
    )
    assert [record.prior for record in records] == [3.0, -2.5]
    assert bad == []
    records, bad = read(b"plain", with_priors=True)
    assert records == []
    assert "use JSON Lines" in bad[0][1]


def test_plain_lines_get_their_line_number_as_id() -> None:
    records, bad = read('\ufefffirst "one"\r\n \t\r\nzweite Zeile ä\u2028!  \r\n'.encode())
    assert bad == []
    assert [line_of(record, 0.5) for record in records] == [
        '{"id": 1, "text": "first \\"one\\"", "relevance_score": 0.5}',
        '{"id": 3, "text": "zweite Zeile ä\u2028!  ", "relevance_score": 0.5}',
    ]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_first_line_that_is_not_blank_decides(mark: str) -> None:
    records, _ = read(f'{mark}\n\n  {{"text": "a"}}\n'.encode())
    assert [record.text for record in records] == ["a"]
    records, bad = read(f'{mark}plain\n{{"text": "a"}}\n'.encode())
    assert [record.text for record in records] == ["plain", '{"text": "a"}']
    assert bad == []


def test_the_format_can_be_forced() -> None:
    records, _ = read(b'{"text": "a"}', InputFormat.LINES)
    assert records[0].text == '{"text": "a"}'
    records, bad = read(b"plain", InputFormat.JSONL)
    assert records == []
    assert len(bad) == 1


def test_labels_are_ids_as_people_wrote_them() -> None:
    assert the_record('{"id": "x\\u00e9", "text": "a"}').label == "xé"
    assert the_record('{"\\u0069d" : 007.0, "text": "a"}'.replace("007.0", "7.00")).label == "7.00"
    assert the_record('{"id": null, "text": "a"}').label == "null"
    assert the_record('{"text": "a"}').label == ""
