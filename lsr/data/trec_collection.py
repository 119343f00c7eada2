"""TREC collections on disk: documents and topics in the tags of TREC, judgements in four columns.

A collection is a folder with three parts, found by their names, each of which may end in `.gz`:

- the corpus, a file or folder whose name begins with `corpus`, `docs`, `documents` or `collection`: files of
  `<DOC>` records, or of any format that `lsr.data.corpus` reads;
- the topics, files whose name holds `topics` or begins with `queries`: `<top>` records, of which the title is
  the query, or `<topic number="…">` records with a `<query>`, or `id<TAB>text`, or JSONL;
- the judgements, files whose name holds `qrels`, or files in a folder `qrels`. What is left of the name
  without `qrels` and its ending is the split (`qrels.dev.txt`: `dev`); a file that has no such part, or
  is the only one, is the split `test`.

The tags are read as TREC's own tools read them, not as XML: most collections are none.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lsr.data.canonical import list_names, quote
from lsr.data.corpus import read_documents
from lsr.data.lines import open_bytes, read_lines
from lsr.data.qrels import Qrels, read_qrels
from lsr.data.queries import read_queries
from lsr.data.sources import format_of
from lsr.errors import InputError, InputFileError
from lsr.types import Document

_CORPUS_NAMES = ("corpus", "docs", "documents", "collection")
_MAX_RECORD_BYTES = 64 * 1024 * 1024

_TITLE_TAGS = ("TITLE", "HEADLINE", "TTL", "HL", "HEAD", "TI")
_TEXT_TAGS = ("TEXT", "LEADPARA", "LP", "ABSTRACT", "AB", "BODY")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_NUMBER = re.compile(r"<num>\s*(?:number\s*:)?\s*([^\s<]+)", re.IGNORECASE)
_TOPIC_TITLE = re.compile(r"<title>\s*(?:topic\s*:)?([^<]*)", re.IGNORECASE)
_TOPICS = re.compile(
    r"<top>(.*?)</top>|<topic\s+number\s*=\s*[\"']?([^\s\"'>]+)[^>]*>(.*?)</topic>", re.I | re.S
)
_QUERY = re.compile(r"<(query|title)>(.*?)</\1>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class TrecCollection:
    """A TREC collection on disk; nothing is read before it is asked for.

    Attributes:
        path: The folder.
    """

    path: Path

    def documents(self) -> Iterator[Document]:
        """The corpus, document by document, in the order of the files' paths.

        Raises:
            InputFileError: There is no corpus.
            InputError: A file is no corpus, a record has no `<DOCNO>`, or there is no document.
        """
        corpora = self._parts(_is_corpus)
        if not corpora:
            raise self._lacks("corpus", "a file or folder corpus, docs, documents or collection")
        found = False
        for file in (file for part in corpora for file in _files(part)):
            for document in _read_file(file):
                found = True
                yield document
        if not found:
            raise InputError(f"{self.path} holds no document: its corpus is empty; give one that has some.")

    def queries(self) -> dict[str, str]:
        """The topics' titles by number.

        Raises:
            InputFileError: There are no topics.
            InputError: A file holds none, or a number comes twice.
        """
        parts = [part for part in self._parts(_is_topics) if part.is_file()]
        if not parts:
            raise self._lacks("topics", "a file whose name holds topics")
        queries: dict[str, str] = {}
        for part in parts:
            for number, text in read_topics(part).items():
                if number in queries:
                    raise InputError(f"{part}: the topic {quote(number)} comes twice; keep one of the two.")
                queries[number] = text
        return queries

    def splits(self) -> list[str]:
        """The names of the splits that have judgements, sorted."""
        return sorted(self._split_files())

    def qrels(self, split: str = "test") -> Qrels:
        """The judgements of a split: grades by query id and document id.

        Raises:
            InputFileError: There are no judgements.
            InputError: There is no such split (the message lists those there are), or a line is no judgement.
        """
        files = self._split_files()
        if not files:
            raise self._lacks("judgements", "a file whose name holds qrels")
        if split not in files and not (split == "test" and len(files) == 1):
            raise InputError(
                f"{self.path} has no split {quote(split)}; choose one of {list_names(sorted(files))}."
            )
        return read_qrels(files.get(split) or next(iter(files.values())))

    def _split_files(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for part in self._parts(_is_qrels):
            files = [part] if part.is_file() else [file for file in sorted(part.iterdir()) if file.is_file()]
            for file in files:
                if not file.name.startswith("."):
                    found.setdefault(_split_name(file.name), file)
        return found

    def _parts(self, wanted: Callable[[str], bool]) -> list[Path]:
        if not self.path.is_dir():
            raise InputFileError(f"the data set {self.path} is not there; give the path of a collection.")
        return sorted(
            part
            for part in self.path.iterdir()
            if not part.name.startswith(".") and wanted(part.name.lower())
        )

    def _lacks(self, what: str, expected: str) -> InputFileError:
        return InputFileError(
            f"the folder {self.path} has no {what} ({expected}); a TREC collection holds a corpus, topics "
            "and qrels, each of which may end in .gz."
        )


def is_trec_collection(folder: Path) -> bool:
    """Whether a folder holds topics beside a corpus, and is no BEIR folder."""
    try:
        names = [part.name.lower() for part in folder.iterdir()]
    except OSError:
        return False
    if any(name in ("queries.jsonl", "queries.jsonl.gz") for name in names):
        return False
    return any(map(_is_topics, names)) and any(map(_is_corpus, names))


def read_topics(path: str | Path) -> dict[str, str]:
    """Reads topics: the tags of TREC, `id<TAB>text`, or JSONL, told apart by the beginning.

    Args:
        path: The file; `.gz` is unpacked.

    Returns:
        Texts by number, in the order of the file; a title that is missing gives an empty text.

    Raises:
        InputFileError: The file is not there or cannot be read.
        InputError: It holds no topic, or a topic has no number.
    """
    name = str(path)
    with open_bytes(Path(path), name) as stream:
        data = stream.read(_MAX_RECORD_BYTES + 1)
    if len(data) > _MAX_RECORD_BYTES:
        raise InputError(f"{name} is longer than {_MAX_RECORD_BYTES // 2**20} MB; split the topics.")
    text = _decode(data)
    if not text.lstrip("\ufeff \t\r\n").startswith("<"):
        return read_queries(path)
    topics: dict[str, str] = {}
    for match in _TOPICS.finditer(text):
        where = f"{name}, line {text.count(chr(10), 0, match.start()) + 1}"
        number, title = _topic(match, where)
        if number in topics:
            raise InputError(f"{where}: the topic {quote(number)} comes twice; keep one of the two.")
        topics[number] = title
    if not topics:
        raise InputError(f"{name} holds no topic; a topic is <top> <num> number <title> text </top>.")
    return topics


def _topic(match: re.Match[str], where: str) -> tuple[str, str]:
    plain, number, inside = match.groups()
    if plain is None:
        query = _QUERY.search(inside)
        return number, _plain(query.group(2)) if query else ""
    found = _NUMBER.search(plain)
    if found is None:
        raise InputError(f"{where}: the topic has no <num>; give it a number.")
    title = _TOPIC_TITLE.search(plain)
    return found.group(1), _plain(title.group(1)) if title else ""


def _read_file(path: Path) -> Iterator[Document]:
    name = str(path)
    with open_bytes(path, name) as stream:
        start = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        return
    if start.startswith(b"<"):
        with open_bytes(path, name) as stream:
            yield from _records(stream, name)
    elif format_of(path.name) is not None:
        yield from read_documents([path])
    else:
        raise InputError(
            f"{path} is no corpus: it begins with no <DOC>, and is no .jsonl, .tsv, .csv, .txt or .parquet."
        )


def _records(stream: IO[bytes], name: str) -> Iterator[Document]:
    """The `<DOC>` records of a stream; what stands between them is passed over."""
    lines: list[bytes] = []
    begin = size = 0
    for number, line in read_lines(stream, name):
        if isinstance(line, InputError):
            raise line
        upper = line.upper()
        if not lines:
            at = upper.find(b"<DOC>")
            if at < 0:
                continue
            begin, size, line, upper = number, 0, line[at + 5 :], upper[at + 5 :]
        end = upper.find(b"</DOC>")
        lines.append(line if end < 0 else line[:end])
        size += len(line)
        if size > _MAX_RECORD_BYTES:
            raise InputError(
                f"{name}, line {begin}: the document has no </DOC> within {_MAX_RECORD_BYTES // 2**20} MB."
            )
        if end >= 0:
            yield _document(_decode(b"".join(lines)), f"{name}, line {begin}")
            lines = []
    if lines:
        raise InputError(f"{name}, line {begin}: the document has no </DOC>; the file is cut.")


def _document(record: str, where: str) -> Document:
    number = re.search(r"<DOCNO>(.*?)</DOCNO>", record, re.IGNORECASE | re.DOTALL)
    id = number.group(1).strip() if number else ""
    if not id:
        raise InputError(f"{where}: the document has no <DOCNO>; give each document its own.")
    title = " ".join(_elements(record, _TITLE_TAGS))
    texts = _elements(record, _TEXT_TAGS)
    if not texts and number is not None:
        rest = record[: number.start()] + record[number.end() :]
        texts = [_plain(_without(rest, (*_TITLE_TAGS, "DOCID", "DOCHDR", "FILEID")))]
    fields = {"id": id, "text": " ".join(text for text in texts if text)}
    if title:
        fields["title"] = title
    return Document(id, fields, where)


def _elements(record: str, tags: tuple[str, ...]) -> list[str]:
    """The plain texts of the outermost elements of these names, in their order."""
    pattern = rf"<({'|'.join(tags)})(?:\s[^<>]*)?>(.*?)</\1>"
    return [_plain(found.group(2)) for found in re.finditer(pattern, record, re.IGNORECASE | re.DOTALL)]


def _without(record: str, tags: tuple[str, ...]) -> str:
    return re.sub(rf"<({'|'.join(tags)})(?:\s[^<>]*)?>.*?</\1>", " ", record, flags=re.IGNORECASE | re.DOTALL)


def _plain(marked: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", marked)).split())


def _decode(data: bytes) -> str:
    """UTF-8, else Latin-1, which the older collections are in."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _files(part: Path) -> Iterator[Path]:
    if part.is_file():
        yield part
        return
    found = [Path(place, name) for place, _, names in os.walk(part) for name in names]
    yield from sorted(file for file in found if not file.name.startswith("."))


def _is_corpus(name: str) -> bool:
    return name.startswith(_CORPUS_NAMES)


def _is_topics(name: str) -> bool:
    return "topics" in name or name.startswith("queries")


def _is_qrels(name: str) -> bool:
    return "qrel" in name


def _split_name(file: str) -> str:
    parts = [part for part in re.split(r"[._-]", file.lower()) if part]
    kept = [part for part in parts if part not in ("qrels", "qrel", "gz", "txt", "tsv", "trec")]
    return "-".join(kept) or "test"
