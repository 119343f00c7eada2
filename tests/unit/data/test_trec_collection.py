"""TREC collections: documents, topics, judgements, and what is said where one is at fault."""

from __future__ import annotations

import pytest

from lsr.data.trec_collection import TrecCollection, is_trec_collection, read_topics

DOCUMENTS = """\
<DOC>
<DOCNO> FT-1 </DOCNO>
<HEADLINE>Ice &amp; water</HEADLINE>
<TEXT>
Ice <F P=100>floats</F>
on water.
</TEXT>
<TEXT>It is lighter.</TEXT>
</DOC>
between
<doc><docno>FT-2</docno> No marks
at all</doc>
<DOC>
<DOCNO>FT-3</DOCNO>
<TEXT></TEXT>
</DOC>
"""
TOPICS = """\
<top>
<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations.
</top>
<top>
<num>302</num>
<title>
Polio &amp; vaccines
</title>
</top>
<top><num> Number: 303
<desc> no title
</top>
"""
QRELS = "301 0 FT-1 1\n302 0 FT-9 0\n"


@pytest.fixture
def collection(write, tmp_path):
    write("set/corpus/b.sgml", DOCUMENTS)
    write("set/corpus/a.trec.gz", "<DOC>\n<DOCNO>A-1</DOCNO>\n<TEXT>first</TEXT>\n</DOC>\n")
    write("set/corpus/.hidden", "nothing")
    write("set/topics.txt", TOPICS)
    write("set/qrels.txt", QRELS)
    return TrecCollection(tmp_path / "set")


def test_a_whole_collection(collection):
    assert [dict(document.fields) for document in collection.documents()] == [
        {"id": "A-1", "text": "first"},
        {"id": "FT-1", "title": "Ice & water", "text": "Ice floats on water. It is lighter."},
        {"id": "FT-2", "text": "No marks at all"},
        {"id": "FT-3", "text": ""},
    ]
    assert [document.where.rpartition("/")[2] for document in collection.documents()] == [
        "a.trec.gz, line 1",
        "b.sgml, line 1",
        "b.sgml, line 11",
        "b.sgml, line 13",
    ]
    assert collection.queries() == {
        "301": "International Organized Crime",
        "302": "Polio & vaccines",
        "303": "",
    }
    assert collection.splits() == ["test"]
    assert collection.qrels() == {"301": {"FT-1": 1}, "302": {"FT-9": 0}}


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_packed_single_files(write, tmp_path, ending):
    write(f"set/docs.trec{ending}", DOCUMENTS)
    write(
        f"set/web.topics.txt{ending}",
        '<topics><topic number="51" type="x"><query>ice age</query></topic></topics>',
    )
    write(f"set/qrels{ending}", QRELS)
    collection = TrecCollection(tmp_path / "set")
    assert len(list(collection.documents())) == 3
    assert collection.queries() == {"51": "ice age"}
    assert collection.qrels() == {"301": {"FT-1": 1}, "302": {"FT-9": 0}}


def test_documents_and_topics_of_other_formats(write, tmp_path):
    write("set/documents.jsonl", '{"id": "1", "text": "one"}\n')
    write("set/docs.txt", "<DOC><DOCNO>2</DOCNO>two</DOC>")
    write("set/queries.tsv", "7\thow many\n")
    write("set/topics.more.jsonl", '{"_id": "8", "text": "why"}\n')
    collection = TrecCollection(tmp_path / "set")
    assert [document.id for document in collection.documents()] == ["2", "1"]
    assert collection.queries() == {"7": "how many", "8": "why"}


def test_splits_by_name(write, tmp_path, fault_of):
    write("set/qrels/train.txt", "1 0 a 1\n")
    write("set/qrels.dev.tsv.gz", "2 0 b 1\n")
    collection = TrecCollection(tmp_path / "set")
    assert collection.splits() == ["dev", "train"]
    assert collection.qrels("train") == {"1": {"a": 1}}
    assert collection.qrels("dev") == {"2": {"b": 1}}
    assert '"test"; choose one of "dev", "train"' in fault_of(collection.qrels)


def test_a_single_file_of_any_name_is_the_test_split(write, tmp_path, fault_of):
    write("set/robust04.qrels", QRELS)
    collection = TrecCollection(tmp_path / "set")
    assert collection.splits() == ["robust04"]
    assert collection.qrels() == collection.qrels("robust04") == {"301": {"FT-1": 1}, "302": {"FT-9": 0}}
    assert 'choose one of "robust04"' in fault_of(collection.qrels, "dev")


def test_a_collection_is_known_by_topics_and_corpus(collection, write, tmp_path):
    assert is_trec_collection(collection.path)
    assert not is_trec_collection(tmp_path / "nowhere")
    assert not is_trec_collection(tmp_path)
    write("set/queries.jsonl", '{"_id": "1", "text": "a BEIR folder"}')
    assert not is_trec_collection(collection.path)


def test_older_collections_are_latin_1(write, tmp_path):
    write("set/corpus.trec", "<DOC><DOCNO>1</DOCNO><TEXT>caf\u00e9</TEXT></DOC>".encode("latin-1"))
    write("set/topics", "<top><num>1<title>d\u00e9j\u00e0 vu</top>".encode("latin-1"))
    collection = TrecCollection(tmp_path / "set")
    assert next(collection.documents()).text == "café"
    assert collection.queries() == {"1": "déjà vu"}


def test_what_is_missing_is_named(tmp_path, fault_of):
    empty = TrecCollection(tmp_path)
    assert "is not there" in fault_of(TrecCollection(tmp_path / "nowhere").documents)
    assert "has no corpus" in fault_of(empty.documents)
    assert "has no topics" in fault_of(empty.queries)
    assert "has no judgements" in fault_of(empty.qrels)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("corpus.trec", "", "holds no document"),
        ("corpus.trec", "<DOCS>\n</DOCS>\n", "holds no document"),
        ("corpus.trec", "\n<DOC>\n<TEXT>none</TEXT>\n</DOC>\n", "line 2: the document has no <DOCNO>"),
        ("corpus.trec", "<DOC>\n<DOCNO> </DOCNO></DOC>\n", "line 1: the document has no <DOCNO>"),
        ("corpus.trec", "<DOC>\n<DOCNO>1</DOCNO>\n", "line 1: the document has no </DOC>"),
        ("corpus.pdf", "%PDF", "begins with no <DOC>"),
    ],
)
def test_a_corpus_at_fault(write, tmp_path, fault_of, name, content, said):
    write(f"set/{name}", content)
    assert said in fault_of(TrecCollection(tmp_path / "set").documents)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<topics>\n</topics>", "holds no topic"),
        ("\n<top>\n<title> x\n</top>", "line 2: the topic has no <num>"),
        ("<top><num>1<title>a</top>\n<top><num>1<title>b</top>", 'line 2: the topic "1" comes twice'),
        ("1\tone\n1\ttwo\n", "comes twice"),
    ],
)
def test_topics_at_fault(write, fault_of, content, said):
    assert said in fault_of(read_topics, write("topics", content))


def test_a_topic_in_two_files(write, tmp_path, fault_of):
    write("set/topics.1", "<top><num>1<title>a</top>")
    write("set/topics.2", "<top><num>1<title>b</top>")
    assert 'the topic "1" comes twice' in fault_of(TrecCollection(tmp_path / "set").queries)


def test_a_line_of_judgements_at_fault(collection, write, fault_of):
    write("set/qrels.txt", "301 0 FT-1 1\n301 FT-2 1\n")
    assert "qrels.txt, line 2: 3 fields" in fault_of(collection.qrels)
