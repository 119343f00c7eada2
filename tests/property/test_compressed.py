"""Compressed segments are searched, explained, expanded and checked as others are, and take less room."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import block_samples as samples
import index_samples
import numpy as np
import pytest
from block_samples import FORMS, Snapshot, brute_force, hits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lsr.errors import IndexCorruptError, IndexVersionError, InputError
from lsr.index import compressed, compressing
from lsr.index import layout as layouts
from lsr.index.batch_search import rank_batch
from lsr.index.check import verify
from lsr.index.compiled import kernel
from lsr.index.compressed import CompressedLayout
from lsr.index.compressing import compress
from lsr.index.format import FileRecord, container_chunks, read_container
from lsr.index.kernels.compressed import read_numbers, write_numbers
from lsr.index.layout import KERNEL_ARRAYS, expand, lay_out, match
from lsr.index.quantise import quantise_query
from lsr.index.query_batch import read_query_matrix
from lsr.index.search import explain_row, search
from lsr.index.segment_reader import SegmentReader
from lsr.index.snapshot import Moment
from lsr.index.snapshot import Snapshot as StoreSnapshot
from lsr.index.store import Store
from lsr.index.vector_index import VectorIndex

SEEDS = st.integers(0, 2**32 - 1)
CHECKED = os.environ.get("NUMBA_BOUNDSCHECK") == "1"
only_checked = pytest.mark.skipif(not CHECKED, reason="runs in the process that checks every index")
patient = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=[1, 3, 10**6], ids=lambda share: f"share-{share}")
def share(request, monkeypatch):
    """How many dense terms stay dense: few, some, all; any term may be dense before."""
    monkeypatch.setattr(layouts, "_DENSE_SHARE", 10**6 if request.param > 1 else 2)
    monkeypatch.setattr(compressing, "DENSE_SHARE", request.param)
    return request.param


def squeezed(segment):
    return replace(segment, layout=compress(segment.layout))


# The same answers


@pytest.mark.parametrize("form", FORMS)
@patient
@given(seed=SEEDS, rows=st.sampled_from([0, 1, 33, 200]), k=st.sampled_from([1, 7, 300]))
def test_compressed_is_plain_is_brute_force(share, form, seed, rows, k):
    """Several segments, some of them compressed, with deleted rows and a filter."""
    rng = np.random.default_rng(seed)
    plain = [samples.make(rng, form, rows=rows + extra, number=extra) for extra in range(3)]
    mixed = [squeezed(segment) if rng.random() < 0.7 else segment for segment in plain]
    asked = samples.query(rng, form, int(rng.choice([1, 6, 60])), 40)
    sizes = [len(segment.columns) for segment in plain]
    living, wanted = ([rng.random(size) < 0.8 for size in sizes] for _ in range(2))
    both = [one & other for one, other in zip(living, wanted, strict=True)]
    expected = brute_force(plain, asked, k, both)
    allowed = [samples.bitmap(one) for one in wanted]
    for segments in (plain, mixed, [squeezed(segment) for segment in plain]):
        snapshot = Snapshot(form, segments, [samples.bitmap(one) for one in living])
        assert hits(search(snapshot, asked, k, allowed=allowed)) == expected
    for score, _, number, row, _ in expected:
        _, weights, impacts, _ = explain_row(Snapshot(form, mixed), asked, number, row)
        assert np.dot(weights.astype(np.float64), impacts.astype(np.float64)) == score


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_a_batch_is_its_queries(share, form, threads):
    """Lists are read once for many queries, and in many threads at a time."""
    rng = np.random.default_rng(share)
    segments = [squeezed(samples.make(rng, form, rows=300, vocabulary=90, number=n)) for n in range(2)]
    queries = csr_array(
        np.where(rng.random((150, 90)) < 0.2, rng.integers(1, 4, (150, 90)), 0), dtype=np.float32
    )
    batch = read_query_matrix(queries, 90, form)
    found = rank_batch(Snapshot(form, segments), batch, 9, threads)
    for ours, query in zip(found, batch.split(), strict=True):
        expected = [(score * query.step, *rest) for score, *rest in brute_force(segments, query, 9)]
        assert hits(ours) == expected


@pytest.mark.parametrize("form", FORMS)
@patient
@given(seed=SEEDS, rows=st.sampled_from([0, 1, 32, 33, 700]), known=st.booleans())
def test_all_postings_come_back(share, form, seed, rows, known):
    rng = np.random.default_rng(seed)
    plain = samples.make(rng, form, rows=rows, vocabulary=70, lexical=known).layout
    small = compress(plain)
    ours, theirs = expand(small), expand(plain)
    for name in ("offsets", "rows", "impacts"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert small.postings == plain.postings
    if known:
        np.testing.assert_array_equal(small.is_lexical(ours.places), plain.is_lexical(theirs.places))
    for row in rng.integers(0, rows, 4 if rows else 0).tolist():
        columns = np.unique(rng.integers(0, 75, 20)).astype(np.int32)
        for one, other in zip(match(small, row, columns), match(plain, row, columns), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("form", FORMS)
@patient
@given(seed=SEEDS)
def test_fewer_dense_terms_are_what_laying_out_gives(form, seed, monkeypatch):
    """The layout in between is the one that a larger share of blocks would have given."""
    rng = np.random.default_rng(seed)
    indptr, indices, impacts = samples.csr(rng, 500, 60, 12, form)
    words = rng.random(len(indices)) < 0.5
    made = []
    for plain, own in ((10**6, 2), (2, 2)):
        monkeypatch.setattr(layouts, "_DENSE_SHARE", plain)
        monkeypatch.setattr(compressing, "DENSE_SHARE", own)
        made.append(compress(lay_out(indptr, indices, impacts, lexical=words)))
    ordinary = lay_out(indptr, indices, impacts, lexical=words)
    for name, ours in zip(KERNEL_ARRAYS, made[0].arrays, strict=True):
        np.testing.assert_array_equal(ours, getattr(ordinary, name))
    for field in fields(CompressedLayout):
        np.testing.assert_array_equal(getattr(made[0], field.name), getattr(made[1], field.name))


def test_gaps_of_any_length_come_back():
    rng = np.random.default_rng(3)
    rows = 1_500_000
    places = np.unique(np.concatenate([[0, 127, 255, 16_638, 33_022, rows - 1], rng.integers(0, rows, 40)]))
    counts = np.zeros(rows, np.int64)
    counts[places] = 1
    indptr = np.concatenate([[0], np.cumsum(counts)])
    columns = (np.arange(len(places)) % 3 + 5).astype(np.int32)
    layout = compress(lay_out(indptr, columns, rng.integers(1, 256, len(places)).astype(np.uint8)))
    assert len(layout.list_impacts) == len(places)
    found = expand(layout)
    for term in range(3):
        part = found.rows[found.offsets[term] : found.offsets[term + 1]]
        np.testing.assert_array_equal(part, places[term::3])


def test_a_column_twice_in_a_row_is_refused(monkeypatch):
    monkeypatch.setattr(layouts, "_MOST_DENSE", 0)
    twice = lay_out(np.array([0, 2]), np.array([4, 4], np.int32), np.array([1, 2], np.uint8))
    with pytest.raises(InputError, match="names a column twice"):
        compress(twice)


# The room


def zipf(rows=6000, terms=60, columns=20_000):
    rng = np.random.default_rng(1)
    topics = rng.integers(0, 40, rows)
    drawn = rng.zipf(1.3, (rows, terms)) % columns
    drawn[:, ::2] = (drawn[:, ::2] * 7 + topics[:, None] * 300) % columns
    weights = rng.integers(1, 256, (rows, terms)).astype(np.float32)
    made = csr_array((weights.ravel(), drawn.ravel(), np.arange(rows + 1) * terms), shape=(rows, columns))
    made.sum_duplicates()
    made.data = np.minimum(made.data, 255)
    return made


def test_a_posting_takes_fewer_bytes(tmp_path):
    vectors = zipf()
    bytes_of = {}
    for compressed_too in (False, True):
        with VectorIndex.build(vectors, tmp_path / str(compressed_too), compress=compressed_too) as index:
            segments = index._snapshot.segments
            bytes_of[compressed_too] = sum(segment.layout.nbytes for segment in segments) / vectors.nnz
            assert isinstance(segments[0].layout, CompressedLayout) == compressed_too
            sections = segments[0].container.sections
            besides = sum(sections[name].nbytes for name in ("row_document", "document_sequence"))
            assert sum(array.nbytes for array in sections.values()) == segments[0].layout.nbytes + besides
    assert bytes_of[True] <= 3.5
    assert bytes_of[True] <= 0.75 * bytes_of[False]


# Files


def plan(**changes):
    return index_samples.settings(**{"compress": True, **changes})


@pytest.mark.parametrize("form", FORMS)
def test_an_index_stays_compressed(tmp_path, form):
    """Settings are kept: what a later handle adds is compressed too, and an older segment may be plain."""
    scale = None if form == "f32" else 0.01
    answers = []
    for name, flags in (("plain", [False, False]), ("mixed", [False, True]), ("small", [True, True])):
        folder = tmp_path / name
        kept = plan(compress=flags[0], quantize=form, scale=scale)
        with Store.create(folder, kept, query_side=b"q") as store:
            index_samples.add(store, *"abcdefgh")
            if flags[0] != flags[1]:
                with store.writing() as writer:
                    writer._settings = replace(writer._settings, compress=True)
                    writer.commit()
        with Store.open(folder) as store:
            index_samples.add(store, *"ijklmnop")
            kinds = [isinstance(one.layout, CompressedLayout) for one in store.snapshot.segments]
            assert kinds == flags and store.settings.compress == flags[1]
            vectors = [store.snapshot.vector(number, row) for number in range(2) for row in range(8)]
            query = quantise_query(np.arange(60), np.linspace(0.1, 2, 60), form)
            answers.append((hits(search(store.snapshot, query, 16)), vectors))
        report = verify(folder, deep=True)
        assert report.faults == ()
    for found, vectors in answers[1:]:
        assert found == answers[0][0]
        for ours, theirs in zip(vectors, answers[0][1], strict=True):
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, other)


COLUMNS = 12


def random_rows(rng, rows):
    filled = rng.random((rows, COLUMNS)) < 0.3
    return csr_array(np.where(filled, rng.integers(1, 256, filled.shape), 0).astype(np.float32))


@pytest.fixture(scope="module")
def segment_file(tmp_path_factory):
    """The bytes of a compressed segment of lists alone, with what the catalog says about it."""
    folder = tmp_path_factory.mktemp("segment") / "i"
    before, compressing.DENSE_SHARE = compressing.DENSE_SHARE, 1
    try:
        with VectorIndex.build(random_rows(np.random.default_rng(9), 200), folder, compress=True) as index:
            segment = index._snapshot.segments[0]
            assert isinstance(segment.layout, CompressedLayout)
            assert len(segment.layout.list_impacts) > 0
            return (folder / segment.name).read_bytes(), segment.record, index._snapshot.settings
    finally:
        compressing.DENSE_SHARE = before


def use(data, record, kept):
    """Open a segment without its checksum, and search, explain and expand it."""
    data.flags.writeable = False
    reader = SegmentReader.over(data, record, kept, whole=False)
    snapshot = StoreSnapshot(kept, [reader], [None], Moment(1, 1, 200))
    with suppress(IndexCorruptError):
        expand(reader.layout, file=reader.name)
    rng = np.random.default_rng(1)
    for _ in range(3):
        row = random_rows(rng, 1)
        query = quantise_query(row.indices, row.data, "u8")
        for at in search(snapshot, query, 9).rows:
            assert 0 <= at < reader.rows
            explain_row(snapshot, query, 0, int(at))


@settings(max_examples=400, deadline=None)
@given(seed=SEEDS)
def test_flipped_bytes_in_the_checked_process(segment_file, seed):
    """An answer or an error, never a crash; in the checked process, never outside an array."""
    content, record, kept = segment_file
    rng = np.random.default_rng(seed)
    data = np.frombuffer(content, np.uint8).copy()
    for place in rng.integers(0, len(data), rng.integers(1, 6)):
        data[place] = rng.integers(0, 256)
    with suppress(IndexCorruptError, IndexVersionError):
        use(data, record, kept)


@settings(max_examples=400, deadline=None)
@given(seed=SEEDS, size=st.sampled_from([1, 40, 300, 1500]), form=st.sampled_from(FORMS))
def test_garbage_in_lists_in_the_checked_process(seed, size, form):
    """Codes of any bytes, and lists that begin anywhere, with tables that fit their lengths."""
    rng = np.random.default_rng(seed)
    segment = squeezed(samples.make(rng, form, rows=size, vocabulary=100, lexical=True))
    layout, codes = segment.layout, segment.layout.list_codes.copy()
    if len(codes):
        chosen = rng.random(len(codes)) < rng.choice([0.02, 0.3, 1.0])
        junk = rng.choice(np.array([0, 1, 128, 255, rng.integers(256)], np.uint8), len(chosen))
        codes[chosen] = junk[chosen]
    starts = layout.list_starts
    if rng.random() < 0.3:
        starts = np.sort(rng.integers(0, len(codes) + 1, len(starts)))
        starts[0], starts[-1] = 0, len(codes)
    damaged = replace(layout, list_codes=codes, list_starts=starts, file="segment-x")
    segment = replace(segment, layout=damaged)
    with suppress(IndexCorruptError):
        postings = expand(damaged)
        assert len(postings.rows) == 0 or int(postings.rows.max()) < size
        damaged.is_lexical(postings.places)
    for _ in range(3):
        asked = samples.query(rng, form, int(rng.choice([3, 60])), 100)
        with suppress(IndexCorruptError):
            assert all(0 <= row < size for *_, row, _ in hits(search(Snapshot(form, [segment]), asked, 9)))
        with suppress(IndexCorruptError):
            match(damaged, int(rng.integers(size)), asked.columns)


@settings(max_examples=300, deadline=None)
@given(numbers=st.lists(st.integers(0, 2**35 - 1), max_size=30), seed=SEEDS)
def test_numbers_in_the_checked_process(numbers, seed):
    given_numbers = np.array(numbers, np.int64)
    codes = np.empty(9 * len(numbers), np.uint8)
    size = kernel(write_numbers, "all")(given_numbers, codes)
    found = np.zeros(len(numbers), np.int64)
    assert kernel(read_numbers, "all")(codes[:size], found) == len(numbers)
    np.testing.assert_array_equal(found, given_numbers)
    if size:
        assert kernel(read_numbers, "all")(codes[: size - 1], found) == -1
        codes[:size] = np.random.default_rng(seed).integers(0, 256, size)
        made = kernel(read_numbers, "all")(codes[:size], found)
        assert made == -1 or (made == len(numbers) and int(found.max()) < 2**35)


@pytest.mark.skipif(CHECKED, reason="is the process already")
def test_kernels_stay_inside_their_arrays(tmp_path):
    """The tests of the checked process, where Numba raises IndexError if a kernel would leave an array."""
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "LSR_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "checked_process", __file__]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "passed" in result.stdout and "skipped" not in result.stdout, result.stdout


def rewrite(segment_file, change):
    """The same segment with other metadata or sections."""
    content, record, kept = segment_file
    container = read_container(np.frombuffer(content, np.uint8), "segment", record, whole=True)
    metadata, sections = dict(container.metadata), dict(container.sections)
    change(metadata, sections)
    pieces = list(container_chunks("segment", record.name, metadata, list(sections.items())))
    data = np.frombuffer(b"".join(pieces), np.uint8).copy()
    return data, FileRecord(record.name, len(data), 0), kept


def test_another_codec_is_refused_with_a_sentence(segment_file):
    def change(metadata, sections):
        metadata["codec"] = "of tomorrow"

    with pytest.raises(IndexVersionError, match=r"segment-.*cannot read \('of tomorrow'\): install a newer"):
        use(*rewrite(segment_file, change))


def put(name, array):
    return lambda metadata, sections: sections.update({name: array})


def forget(name):
    return lambda metadata, sections: sections.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda metadata, sections: metadata.pop("codec"), "section terms is missing"),
        (lambda metadata, sections: metadata.update(bound_step=2.0), "step of its bounds"),
        (forget("list_codes"), "section list_codes is missing"),
        (put("list_impacts", np.zeros(3, np.uint16)), "list_impacts is of another type"),
        (put("list_impacts", np.zeros(3, np.uint8)), "not as long as its tables say"),
        (put("list_codes", np.zeros(9, np.uint8)), "not as long as its tables say"),
        (put("list_codes", np.zeros(2, np.uint8)), "not as long as its tables say"),
        (put("term_counts", np.full(8, 255, np.uint8)), "tables of its terms cannot be read"),
        (put("term_words", np.zeros(1, np.uint8)), "tables of its terms cannot be read"),
        (put("term_gaps", np.zeros(COLUMNS, np.uint8)), "terms are not in order"),
    ],
)
def test_what_does_not_fit_is_named(segment_file, change, message):
    with pytest.raises(IndexCorruptError, match=message):
        use(*rewrite(segment_file, change))


def test_a_list_of_other_rows_is_noticed(segment_file):
    """Rows beyond the segment's last one, with tables that are as they were."""

    def change(metadata, sections):
        codes = sections["list_codes"].copy()
        codes |= 64
        sections["list_codes"] = codes

    with pytest.raises(IndexCorruptError, match="a list does not hold the rows that it should"):
        data, record, kept = rewrite(segment_file, change)
        data.flags.writeable = False
        expand(SegmentReader.over(data, record, kept, whole=False).layout)


def test_the_page_names_every_section():
    page = (Path(__file__).resolve().parents[2] / "docs" / "index-format.md").read_text(encoding="utf-8")
    start = page.index("### Compressed segments")
    part = page[start : page.index("### Segments of format 1", start)]
    assert set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)) == {*compressed.COMPRESSED, "list_impacts"}
    assert f'`"{compressed.CODEC}"`' in part
