"""Where data sets come from: TREC folders, the parts of CQADupStack, downloads, ir_datasets, NanoBEIR."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from threading import Thread

import pytest

from lsr.errors import InputError, InputFileError, MissingExtraError
from lsr.eval import dataset_sources
from lsr.eval.beir_download import ARCHIVES, ON_REQUEST, Archive, beir_fetch, download
from lsr.eval.dataset_sources import NANO_SETS, IrDataset, NanoSet, find_folders, open_collections
from lsr.eval.datasets import CorpusCheck, load_datasets
from lsr.eval.published_counts import published_counts


@pytest.fixture
def trec(tmp_path):
    folder = tmp_path / "data" / "npl"
    folder.mkdir(parents=True)
    (folder / "corpus.trec").write_text(
        "<DOC><DOCNO>1</DOCNO><TEXT>dielectric constants of liquids</TEXT></DOC>\n"
        "<DOC><DOCNO>2</DOCNO><TEXT>radio waves</TEXT></DOC>\n",
        encoding="utf-8",
    )
    (folder / "topics.txt").write_text("<top><num>7<title>measure liquids</top>", encoding="utf-8")
    (folder / "qrels.txt").write_text("7 0 1 1\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("by_name", [True, False])
def test_a_trec_collection_is_a_data_set(trec, by_name):
    (dataset,) = load_datasets(["npl" if by_name else str(trec)], data_dir=trec.parent)
    assert (dataset.name, dataset.queries, dataset.qrels) == (
        "npl",
        {"7": "measure liquids"},
        {"7": {"1": 1}},
    )
    check = CorpusCheck(dataset)
    assert [document.id for document in check.documents()] == ["1", "2"]
    assert check.notes() == ()


def test_cqadupstack_is_its_parts(beir, tmp_path):
    for part in ("unix", "android"):
        beir.write(tmp_path / "cqadupstack" / part)
    for name in ("cqadupstack", str(tmp_path / "cqadupstack")):
        found = load_datasets([name], data_dir=tmp_path)
        assert [dataset.name for dataset in found] == ["cqadupstack/android", "cqadupstack/unix"]
    (one,) = load_datasets(["cqadupstack/unix"], data_dir=tmp_path)
    assert one.name == "cqadupstack/unix"
    assert one.published is not None and one.published.documents == 47382


def test_other_folders_of_folders_are_no_data_set(small):
    with pytest.raises(InputFileError, match="There is no data set"):
        load_datasets([str(small.parent)], data_dir=small.parent.parent)


def pack(beir, tmp_path, *, name="tiny", folder=None, extra=()):
    """An archive of a small data set, and its entry."""
    beir.write(tmp_path / "made" / (folder or name))
    packed = tmp_path / f"{name}.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted((tmp_path / "made").rglob("*")):
            archive.write(file, file.relative_to(tmp_path / "made").as_posix())
        for member in extra:
            archive.writestr(member, "outside")
    md5 = hashlib.md5(packed.read_bytes()).hexdigest()
    return Archive(name, str(packed), md5, 1)


def test_a_download_is_checked_unpacked_and_whole(beir, tmp_path):
    archive = pack(beir, tmp_path, extra=["../above.txt", "beside.txt", "tiny/../../x.txt", "/root.txt"])
    folder = download(archive, tmp_path / "new" / "data", shutil.copyfile)
    assert folder == tmp_path / "new" / "data" / "tiny"
    (dataset,) = load_datasets(["tiny"], data_dir=folder.parent)
    assert dataset.qrels == beir.qrels
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
    assert not list(tmp_path.rglob("above.txt")) + list(tmp_path.rglob("x.txt"))


def test_a_download_that_is_not_the_published_one_is_removed(beir, tmp_path):
    archive = pack(beir, tmp_path)
    other = Archive(archive.name, archive.url, "0" * 32, 1)
    with pytest.raises(InputError, match=f"its MD5 is {archive.md5}, not 0000"):
        download(other, tmp_path / "data", shutil.copyfile)
    assert not list((tmp_path / "data").iterdir())


def test_an_archive_of_something_else(beir, tmp_path):
    with pytest.raises(InputError, match="holds no folder 'tiny'"):
        download(pack(beir, tmp_path, folder="other"), tmp_path / "data", shutil.copyfile)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"no archive")
    archive = Archive("tiny", str(broken), hashlib.md5(b"no archive").hexdigest(), 1)
    with pytest.raises(InputError, match="is damaged"):
        download(archive, tmp_path / "data", shutil.copyfile)
    assert not list((tmp_path / "data").iterdir())


def test_without_a_network_the_layout_is_told(tmp_path):
    archive = Archive("tiny", str(tmp_path / "nowhere.zip"), "0" * 32, 1)
    with pytest.raises(InputFileError) as caught:
        download(archive, tmp_path / "data", shutil.copyfile)
    message = str(caught.value)
    for part in ("FileNotFoundError", str(tmp_path / "data" / "tiny"), "corpus.jsonl", "qrels/test.tsv"):
        assert part in message
    assert not list((tmp_path / "data").iterdir())


def test_a_data_directory_that_cannot_be(beir, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputFileError, match="cannot be written"):
        download(pack(beir, tmp_path), tmp_path / "file" / "data", shutil.copyfile)


def test_a_name_of_beir_is_downloaded_when_it_is_not_there(beir, tmp_path, monkeypatch):
    archive = pack(beir, tmp_path, name="scifact")
    monkeypatch.setitem(dataset_sources.ARCHIVES, "scifact", archive)
    monkeypatch.setattr(dataset_sources, "beir_fetch", lambda: shutil.copyfile)
    (dataset,) = load_datasets(["scifact"], data_dir=tmp_path / "data")
    assert dataset.qrels == beir.qrels
    monkeypatch.setattr(dataset_sources, "beir_fetch", None)  # the second time nothing is asked for
    assert find_folders("scifact", data_dir=tmp_path / "data") == [tmp_path / "data" / "scifact"]


def test_the_beir_package_downloads(beir, tmp_path):
    pytest.importorskip("beir", reason="needs the extra [beir]")
    archive = pack(beir, tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path))
    with server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/tiny.zip"
        folder = download(replace(archive, url=url), tmp_path / "data", beir_fetch())
        with pytest.raises(InputError, match="is not the published data set"):
            download(replace(archive, url=f"{url}.not"), tmp_path / "more", beir_fetch())
        server.shutdown()
    assert (folder / "corpus.jsonl").is_file()


@pytest.mark.parametrize("name", ON_REQUEST)
def test_sets_that_have_to_be_asked_for(name, tmp_path):
    with pytest.raises(InputFileError, match=r"have to be asked for.*corpus\.jsonl"):
        load_datasets([name], data_dir=tmp_path)


@pytest.mark.skipif(find_spec("beir") is not None, reason="beir is installed")
def test_without_the_package_the_extra_is_named(tmp_path):
    with pytest.raises(InputFileError, match=r"pip install '.*\[beir\]'"):
        load_datasets(["fiqa"], data_dir=tmp_path)


def test_a_folder_of_a_beir_name_without_data_is_left_alone(tmp_path):
    (tmp_path / "fiqa").mkdir()
    with pytest.raises(InputFileError, match="is no data set"):
        load_datasets(["fiqa"], data_dir=tmp_path)


def test_every_download_has_published_counts():
    for name in ARCHIVES:
        if name != "cqadupstack":
            assert published_counts(name, "test") is not None
    parts = [published_counts(f"cqadupstack/{part}", "test") for part in PARTS]
    assert sum(part.documents for part in parts) == 457_199  # of the same table
    assert sum(part.queries for part in parts) == 13_145


PARTS = (
    *("android", "english", "gaming", "gis", "mathematica", "physics", "programmers", "stats", "tex"),
    *("unix", "webmasters", "wordpress"),
)


def test_published_counts_by_any_name():
    plain = published_counts("scifact", "test")
    assert (
        plain
        == published_counts("irds:beir/scifact/test", "test")
        == published_counts("irds:beir/scifact", "test")
    )
    assert published_counts("irds:beir/scifact/train", "test").queries == 809
    assert published_counts("nano:scifact", "test") == published_counts("irds:nano-beir/scifact", "test")
    assert published_counts("irds:vaswani", "test").judgements == 2083
    assert published_counts("scifact", "dev") is published_counts("mine", "test") is None


def test_unknown_nano_names_are_answered_with_those_there_are():
    with pytest.raises(InputError, match="there are arguana, climate-fever"):
        open_collections(["nano:cranfield"], data_dir=None)
    assert len(NANO_SETS) == 13
    assert all(published_counts(f"nano:{name}", "test") for name in NANO_SETS)


def test_libraries_are_named_where_they_are_not_installed(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(dataset_sources, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"\[irds\]"):
        load_datasets(["irds:vaswani"])
    with pytest.raises(MissingExtraError, match=r"\[nano\]"):
        load_datasets(["nano:scifact"])


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """Data sets of ir_datasets over local files: `lsr-test/docs`, and its split `lsr-test/docs/dev`."""
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "irds"))
    ir_datasets = pytest.importorskip("ir_datasets", reason="needs the extra [irds]")
    (tmp_path / "docs.tsv").write_text("d1\tice floats\nd2\tcars\n", encoding="utf-8")
    (tmp_path / "queries.tsv").write_text("q1\twhat floats\nq2\tnot judged\n", encoding="utf-8")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 2\nq1 0 d2 0\n", encoding="utf-8")
    make = partial(ir_datasets.create_dataset, docs_tsv=str(tmp_path / "docs.tsv"))
    names = {
        "lsr-test/docs": make(),
        "lsr-test/docs/dev": make(
            queries_tsv=str(tmp_path / "queries.tsv"), qrels_trec=str(tmp_path / "qrels.txt")
        ),
    }
    for name, dataset in names.items():
        if name not in ir_datasets.registry:
            ir_datasets.registry.register(name, dataset)
    yield ir_datasets
    for name in names:
        ir_datasets.registry._registered.pop(name, None)


def test_ir_datasets_by_id_and_by_split(registered):
    for id, split in (("lsr-test/docs/dev", "test"), ("lsr-test/docs", "dev")):
        (dataset,) = load_datasets([f"irds:{id}"], split=split)
        assert dataset.name == f"irds:{id}"
        assert (dataset.queries, dataset.qrels) == ({"q1": "what floats"}, {"q1": {"d1": 2, "d2": 0}})
        assert [(document.id, document.text) for document in dataset.documents()] == [
            ("d1", "ice floats"),
            ("d2", "cars"),
        ]


def test_ir_datasets_at_fault(registered):
    with pytest.raises(InputError, match='no split "test"; choose one of "dev"'):
        load_datasets(["irds:lsr-test/docs"])
    with pytest.raises(InputError, match='no split "train"; choose one of "test"'):
        load_datasets(["irds:lsr-test/docs/dev"], split="train")
    with pytest.raises(InputFileError, match="knows no such id"):
        load_datasets(["irds:lsr-test/nothing"])


def test_records_of_ir_datasets_with_title_and_without_text(registered):
    (titled,) = [IrDataset("cranfield")]
    assert titled.splits() == ["test"]  # no file is read for it
    record = type("R", (), {"doc_id": "1", "title": "Ice", "text": "floats"})()
    assert dataset_sources._irds_document(record).text == "Ice floats"
    record = type("R", (), {"doc_id": "1", "title": "Ice", "default_text": lambda self: "Ice, abstract"})()
    assert dict(dataset_sources._irds_document(record).fields) == {"id": "1", "text": "Ice, abstract"}


def test_nano_sets_are_three_tables(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="needs the extra [nano]")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = {
        "corpus": [{"_id": "d1", "text": "ice floats"}, {"_id": "d2", "text": "cars"}],
        "queries": [{"_id": "q1", "text": "what floats"}],
        "qrels": [{"query-id": "q1", "corpus-id": "d1"}],
    }
    folder = tmp_path / "NanoTiny"
    folder.mkdir()
    settings = ["---", "configs:"]
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
        )
        settings += [f"- config_name: {name}", "  data_files:", "  - split: train", f"    path: {name}.jsonl"]
    (folder / "README.md").write_text("\n".join([*settings, "---", ""]), encoding="utf-8")
    nano = NanoSet(str(folder))
    assert [document.text for document in nano.documents()] == ["ice floats", "cars"]
    assert nano.queries() == {"q1": "what floats"}
    assert nano.qrels() == {"q1": {"d1": 1}}
    with pytest.raises(InputError, match="no split"):
        nano.qrels("dev")
    with pytest.raises(InputFileError, match=r"cannot be had.*corpus\.jsonl"):
        NanoSet(str(tmp_path / "nothing")).queries()
