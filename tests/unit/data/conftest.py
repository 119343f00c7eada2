"""Small files, and what reading them says."""

from __future__ import annotations

import gzip
import io
import sys
from types import SimpleNamespace

import pytest

from lsr.data.corpus import read_documents
from lsr.errors import LsrError


@pytest.fixture
def write(tmp_path):
    """Writes a file below the temporary folder; text as UTF-8, `.gz` packed."""

    def write_file(name, content):
        data = content.encode("utf-8") if isinstance(content, str) else content
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write_file


@pytest.fixture
def fields_of():
    """The documents of sources, as dicts."""

    def read(*sources, **options):
        return [dict(document.fields) for document in read_documents(sources, **options)]

    return read


@pytest.fixture
def fault_of():
    """The one sentence with which a call ends."""

    def call(function, *args, **options):
        with pytest.raises(LsrError) as caught:
            result = function(*args, **options)
            if hasattr(result, "__next__"):
                list(result)
        assert caught.value.exit_code == 2
        message = str(caught.value)
        assert message.endswith((".", ")")) and "\n" not in message
        return message

    return call


@pytest.fixture
def refused(fault_of):
    """The one sentence with which reading documents ends."""

    def read(*sources, **options):
        return fault_of(read_documents, sources, **options)

    return read


@pytest.fixture
def skipped():
    """The documents that are left, and the sentences about the others."""

    def read(*sources, **options):
        errors = []
        documents = list(read_documents(sources, on_error="skip", errors=errors, **options))
        return SimpleNamespace(ids=[document.id for document in documents], errors=errors)

    return read


@pytest.fixture
def stdin(monkeypatch):
    """Puts bytes on standard input."""

    def put(data):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return put
