"""Input of every format and encoding is read for what it is, or refused."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import time
from itertools import repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core.cli._guard import Failure
from rerank_core.cli._records import InputFormat, Record, read_records

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff"), max_size=8)


class Read:
    """Outcome of one input."""

    def __init__(
        self, data: bytes | str, input_format: str = "auto", name: str = "stdin", **options: Any
    ) -> None:
        self.bad: list[tuple[int, str]] = []
        self.notes: list[str] = []
        self.records: list[Record] = read_records(
            io.BytesIO(data.encode() if isinstance(data, str) else data),
            InputFormat(input_format),
            prior_field="score" if options.pop("with_priors", False) else None,
            reject=lambda number, reason: self.bad.append((number, reason)),
            note=self.notes.append,
            name=name,
            **options,
        )
        self.texts = [record.text for record in self.records]
        self.json = [record.to_json({}, ["relevance_score"]) for record in self.records]


def test_a_json_array_is_read_item_by_item_and_nothing_is_lost() -> None:
    read = Read('[{"text": "a", "id": 1e400}, {"n": 1.10, "text": "b"}, "c\\u00e9"]')
    assert read.json == ['{"text": "a", "id": 1e400}', '{"n": 1.10, "text": "b"}',
                         '{"id": 3, "text": "cé"}']  # fmt: skip
    assert read.bad == []


def test_a_pretty_printed_array_comes_out_line_by_line() -> None:
    documents = [{"text": "a\n", "m": {"k": [1, [], {}], "e": ""}}, {"text": "b", "m": []}]
    for indent in (2, "\t"):
        for end in ("\n", "\r\n"):
            read = Read("\n" + json.dumps(documents, indent=indent).replace("\n", end) + end)
            assert read.json == [json.dumps(document) for document in documents]


def test_pretty_printed_objects_one_after_another_are_read() -> None:
    documents = [{"text": "a", "m": {"k": 1}}, {"text": "b"}]
    text = "\n".join(json.dumps(document, indent=4) for document in documents)
    read = Read(text)
    assert read.json == [json.dumps(document) for document in documents]


def test_bad_items_of_an_array_are_told_by_line_and_item() -> None:
    read = Read('[\n{"text": "a"},\n{"text": 1}, {"text": "b", "text": "c"},\n3,\n{"text": "d"}]')
    assert read.texts == ["a", "d"]
    assert [(number, reason.partition(":")[0]) for number, reason in read.bad] == [
        (3, "item 2"), (3, "item 3"), (4, "item 4"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ['{"documents": [{"text": "a"}]}', '{\n "documents": [\n  {}\n ]\n}']
)
def test_an_object_around_the_candidates_is_no_candidate(text: str) -> None:
    read = Read(text)
    assert read.records == []
    ((_, reason),) = read.bad
    assert "if the candidates are in 'documents', pass that array alone" in reason


@pytest.mark.parametrize("text", ['[{"text": "a"},', '[{"text": "a"}] x', "[\n", '["a" "b"]', "[3"])
def test_a_broken_array_is_one_error(text: str) -> None:
    with pytest.raises(Failure, match=r"^stdin:[12]: not JSON: .* at column \d"):
        Read(text, "json")
    if text != "[3":  # which may be a text
        with pytest.raises(Failure, match="--input-format lines takes each line as a text"):
            Read(text)


def test_texts_in_brackets_are_texts() -> None:
    for text in ("[1] Smith, 2020", "[[Link]] to", "[ ] buy milk", "[draft] a"):
        assert Read(f"{text}\nmore").texts == [text, "more"]


def test_a_first_line_that_is_cut_off_is_one_bad_line_of_json_lines() -> None:
    read = Read('{"text": "a",\n{"text": "b"}\n')
    assert read.texts == ["b"]
    assert read.bad[0][0] == 1


@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=4),
    dialect=st.sampled_from([("auto", ","), ("csv", ";"), ("auto", "\t"), ("tsv", "\t")]),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
)
def test_any_table_survives(
    rows: list[tuple[str, str, str]], dialect: tuple[str, str], end: str, mark: bool
) -> None:
    stream = io.StringIO()
    table = csv.writer(stream, delimiter=dialect[1], lineterminator=end)
    table.writerows([("id", "text", ""), *rows])
    data = stream.getvalue().encode("utf-8-sig" if mark else "utf-8")
    read = Read(data, dialect[0])
    assert read.bad == []
    assert [json.loads(line) for line in read.json] == [
        dict(zip(("id", "text", ""), row, strict=True)) for row in rows
    ]


def test_a_row_has_the_number_of_its_first_line() -> None:
    read = Read('id,text\n1,"two\nlines"\n\n3\n4,b\n', name="in.csv")
    assert read.texts == ["two\nlines", "b"]
    assert read.bad == [(5, "has 1 fields, and the header 2")]


def test_long_texts_fit_into_a_cell() -> None:
    assert Read(f"id,text\n1,{'x' * 200_000}\n").texts == ["x" * 200_000]


def test_tsv_without_quoting_is_read() -> None:
    read = Read('id\ttext\n1\t"Quote" she said\n2\t"open\n')
    assert read.texts == ['"Quote" she said', '"open']


def test_scores_of_a_table_are_numbers_for_blending() -> None:
    read = Read("text,score\na,0.50\nb,high\nc,nan\n", with_priors=True)
    assert [record.prior for record in read.records] == [0.5]
    assert read.json == ['{"text": "a", "score": "0.50"}']
    assert [number for number, _ in read.bad] == [3, 4]
    assert Read("text,id\na,1\n", with_priors=True).bad[0][1].startswith('the field "score" is')


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "id,page_content\n1,a\n",
            "only 'id', 'page_content'; use --text-field page_content; --input-format lines takes",
        ),
        ("id,text,id\n1,a,2\n", "has the column 'id' twice"),
        ('id,text\n1,"a\n2,b\n', "^stdin:2: not a table: unexpected end of data"),
        (b"id,text\n1,\xe9\n", "^stdin:2: not UTF-8: byte 0xe9; convert"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_error(data: bytes | str, message: str) -> None:
    with pytest.raises(Failure, match=message):
        Read(data)


@pytest.mark.parametrize(
    ("name", "data", "texts"),
    [
        ("in.csv", "text\na\n", ["a"]),
        ("in.TSV", "text\na\n", ["a"]),
        ("in.csv.gz", "text\na\n", ["a"]),
        ("in.txt", "text\na\n", ["text", "a"]),
        ("csv", "text\na\n", ["text", "a"]),
        ("in.csv", '{"text": "a"}\n', ["a"]),  # the content comes first
        ("in.json", '{"text": "a"}\n{"text": "b"}\n', ["a", "b"]),
        ("in.jsonl", '[{"text": "a"}]', ["a"]),
        ("in.txt", "id,text\n1,a\n", ["a"]),
    ],
)
def test_the_ending_decides_where_the_content_does_not(
    name: str, data: str, texts: list[str]
) -> None:
    assert Read(data, name=name).texts == texts


def test_a_broken_first_line_of_a_jsonl_file_is_a_bad_line() -> None:
    read = Read('oops\n{"text": "a"}\n', name="in.jsonl")
    assert (read.texts, [number for number, _ in read.bad]) == (["a"], [1])


def test_plain_lines_that_look_like_a_table_are_noted() -> None:
    for text in ("id,title\n1,a\n", "1\ta, b\n2\tc\n", '1;"x;y"\n2;z\n'):
        assert "a table needs --input-format" in Read(text).notes[0]
        assert Read(text, "lines").notes == []
    for text in ("Paris, France\nRome, Italy\n", "a,b\n", "plain\nlines\n", "a,b\nc\n"):
        assert Read(text).notes == []


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_utf_16_and_utf_32_are_decoded_or_refused(encoding: str) -> None:
    text = '{"text": "aÄ中\U0001f600"}\n{"text": "b"}\n'
    marks = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE,
             "utf-32-le": codecs.BOM_UTF32_LE, "utf-32-be": codecs.BOM_UTF32_BE}  # fmt: skip
    data = marks.get(encoding, b"") + text.encode(encoding)
    read = Read(data)
    assert (read.texts, read.bad) == (["aÄ中\U0001f600", "b"], [])
    cut = Read(data[:-1])
    assert (cut.texts, bool(cut.bad)) == ([], True)
    if encoding in marks:
        unmarked = Read(text.encode(encoding))
        assert unmarked.texts == []
        assert all("NUL" in reason or "not UTF-8" in reason for _, reason in unmarked.bad)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "text",
    ['{"text": "a"}\n', '["a"]', "id,text\n1,a\n", "a\n"],
    ids=["jsonl", "json", "csv", "lines"],
)
def test_gzip_is_decompressed(text: str, encoding: str) -> None:
    assert Read(gzip.compress(text.encode(encoding))).texts == ["a"]


def test_damaged_gzip_is_one_error() -> None:
    data = gzip.compress(b"".join(b"line %d\n" % n for n in range(1000)))
    for damaged in (data[:3], data[:-1], data[: len(data) // 2], data[:50] + b"\xff" + data[51:],
                    data[:-8] + bytes(8), data + b"more"):  # fmt: skip
        with pytest.raises(Failure, match=r"^stdin: is gzip, but cut off or damaged: "):
            Read(damaged)


def test_formats_can_be_forced() -> None:
    assert Read('[\n"a"\n]', "lines").texts == ["[", '"a"', "]"]
    assert Read("id,text\n1,a\n", "lines").texts == ["id,text", "1,a"]
    assert Read('{"text": "a"}\n["b"] "c"', "json").texts == ["a", "b", "c"]
    assert Read("text\na\n", "tsv").texts == ["a"]
    assert [number for number, _ in Read('[\n"a"\n]', "jsonl").bad] == [1, 2, 3]
    with pytest.raises(Failure, match=r"no column 'text', only '\{'"):
        Read("{\n1\n", "csv")


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "tsv", "lines", "auto"])
@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_nothing_is_no_candidates(form: str, data: bytes) -> None:
    read = Read(data, form)
    assert (read.records, read.bad, read.notes) == ([], [], [])


def test_the_text_may_have_another_name() -> None:
    line = '{"page_content": "a", "text": 3}'
    assert Read(line, text_field="page_content").json == [line]
    assert Read("body,n\na,1\n", text_field="body").texts == ["a"]
    assert Read("a\n", text_field="body").json == ['{"id": 1, "body": "a"}']


@pytest.mark.parametrize(
    ("line", "options", "hint"),
    [
        ('{"page_content": "a"}', {}, "is missing; use --text-field page_content"),
        ('{"content": "a", "id": "x"}', {}, "is missing; use --text-field content"),
        ('{"text": "a"}', {"text_field": "body"}, 'field "body" is missing; use --text-field text'),
        ('{"abstract": "a"}', {"text_field": "abstrct"}, "is missing; did you mean 'abstract'?"),
        ('{"content": 3}', {}, 'the field "text" is missing'),
    ],
)
def test_a_missing_text_is_looked_for(line: str, options: dict[str, str], hint: str) -> None:
    ((_, reason),) = Read(line, **options).bad
    assert reason.endswith(hint)


def test_many_fields_are_read_quickly() -> None:
    fields = ", ".join(f'"key{n}": {n}' for n in range(60_000))
    lines = f'{{"text": "a", {fields}}}\n{{{fields}, "key0": 1, "text": "b"}}\n'
    started = time.process_time()
    read = Read(lines)
    assert time.process_time() - started < 5
    assert read.texts == ["a"]
    assert "'key0' is there twice" in read.bad[0][1]


def test_lines_that_may_mean_something_else_are_noted() -> None:
    read = Read("text\nYeast\njson.dump\n")
    assert read.texts == ["text", "Yeast", "json.dump"]
    assert "if the first, 'text', is a header: --input-format csv" in read.notes[0]
    assert Read("text\nYeast\njson.dump\n", "csv").texts == ["Yeast", "json.dump"]
    assert "quotes included" in Read('"Yeast makes"\n"dough rise"\n').notes[0]
    assert Read("Yeast\ntext\n").notes == []


def test_one_object_of_many_members_and_one_table_of_many_columns_are_read() -> None:
    fields: dict[str, object] = {"text": "a", **{f"field {n}": n for n in range(60_000)}}
    line = json.dumps(fields)
    assert Read(line).json == [line]
    header, row = ",".join(fields), ",".join(map(str, fields.values()))
    (read,) = Read(f"{header}\n{row}\n").json
    assert json.loads(read)["field 59999"] == "59999"


def test_a_header_of_many_columns_is_cut_in_the_message() -> None:
    header = ",".join(f"column {n}" for n in range(60_000))
    with pytest.raises(Failure, match=r"no column 'text', only 'column 0', .*'column 19', …$"):
        Read(f"{header}\n", "csv")


def test_input_without_an_end_is_refused() -> None:
    with pytest.raises(Failure, match="x: is larger than 536,870,912 bytes"):
        read_records(
            repeat(b" " * (1 << 24) + b"\n"), InputFormat.JSON, prior_field=None, reject=print,
            name="x",
        )  # fmt: skip


def test_a_line_that_grows_when_decompressed_is_refused() -> None:
    bomb = gzip.compress(bytes(1 << 27) + b"\n", compresslevel=1)
    with pytest.raises(OSError, match="line 1 is longer than 134,217,728 bytes"):
        Read(bomb)
