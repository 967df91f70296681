"""Outputs in pages: what is compared, and what is rewritten."""

from __future__ import annotations

import pytest

from support.markdown import with_outputs

PAGE = """
Words.

```python
print("a")
print("b ", end="")
```

```text
a
b
```

1. In a list:

   ```python
   print({score})
   ```

   ```text
   0.12345678
   ```
"""


def test_a_page_whose_outputs_are_right_stays() -> None:
    page = PAGE.format(score=0.12345671)  # as another processor may round
    assert with_outputs(page) == page


@pytest.mark.parametrize("score", [0.2, 0.12])
def test_a_page_gets_the_outputs_of_today(score: float) -> None:
    page = PAGE.format(score=score)
    assert with_outputs(page) == page.replace("0.12345678", str(score))


@pytest.mark.parametrize("output", ["", "\n```text\nold\n```\n"])
@pytest.mark.parametrize("code", ["print(1)", "one = 1"])
def test_outputs_come_and_go_with_what_is_printed(code: str, output: str) -> None:
    page = with_outputs(f"```python\n{code}\n```\n{output}\nEnd.\n")
    printed = "\n```text\n1\n```\n" if "print" in code else ""
    assert page == f"```python\n{code}\n```\n{printed}\nEnd.\n"


def test_figures_may_vary_where_the_block_says_so() -> None:
    page = "```python\nprint({!r})\n```\n\n```text{}\ntook 0.3 s\n```\n"
    assert with_outputs(page.format("took  12 s", " figures-vary")) == page.format(
        "took  12 s", " figures-vary"
    )
    assert "lasted" in with_outputs(page.format("lasted 12 s", " figures-vary"))
    assert "took 12 s\n```" in with_outputs(page.format("took 12 s", ""))


def test_a_block_that_lacks_something_keeps_its_output() -> None:
    page = "```python\n# needs nothing_of_that_name: a key\nprint(1)\n```\n\n```text\n2\n```\n"
    assert with_outputs(page) == page


def test_commands_are_run_and_their_failure_is_shown() -> None:
    page = "```console\n$ echo one \\\n    two\n$ cat missing\nold\n$ true\n```\n"
    updated = with_outputs(page)
    assert updated.startswith("```console\n$ echo one \\\n    two\none two\n$ cat missing\n")
    assert "old" not in updated
    assert updated.endswith("[exit code 1]\n$ true\n```\n")
    assert with_outputs(updated) == updated


def test_docstrings_keep_their_margin() -> None:
    source = '    """Adds.\n\n    ```python\n    print(1 + 1)\n    ```\n    """\n'
    assert "    ```\n\n    ```text\n    2\n    ```\n" in with_outputs(source)
