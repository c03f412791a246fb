"""What the catalogue says of hub data fits the columns and class names that the hub has.

The hub is not asked: the columns and class names below are those that its data sets declare.
"""

from dataclasses import replace

import pytest

from continual.scenario import RowsSource, load_scenario

STARS = ["1 star", "2 star", "3 stars", "4 stars", "5 stars"]
DBPEDIA = [
    "Company",
    "EducationalInstitution",
    "Artist",
    "Athlete",
    "OfficeHolder",
    "MeanOfTransportation",
    "Building",
    "NaturalPlace",
    "Village",
    "Animal",
    "Plant",
    "Album",
    "Film",
    "WrittenWork",
]
# task -> its text columns, its label column, the class names; None where labels are numbers
HUB = {
    "mnli": ("premise hypothesis", "label", ["entailment", "neutral", "contradiction"]),
    "cb": ("premise hypothesis", "label", ["entailment", "contradiction", "neutral"]),
    "wic": ("word sentence1 sentence2", "label", ["False", "True"]),
    "copa": ("premise choice1 choice2 question", "label", ["choice1", "choice2"]),
    "qqp": ("question1 question2", "label", ["not_duplicate", "duplicate"]),
    "boolqa": ("question passage", "label", ["False", "True"]),
    "rte": ("sentence1 sentence2", "label", ["entailment", "not_entailment"]),
    "imdb": ("text", "label", ["neg", "pos"]),
    "yelp": ("text", "label", STARS),
    "amazon": ("text", "label", None),
    "sst-2": ("sentence", "label", ["negative", "positive"]),
    "dbpedia": ("title content", "label", DBPEDIA),
    "agnews": ("text", "label", ["World", "Sports", "Business", "Sci/Tech"]),
    "multirc": ("paragraph question answer", "label", ["False", "True"]),
    "yahoo": ("question_title question_content best_answer", "topic", "the scenario's"),
}
SAID = {  # task -> what a model must say for the first and the last class of the hub
    "mnli": ("entailment", "contradiction"),
    "cb": ("entailment", "neutral"),
    "wic": ("False", "True"),
    "copa": ("A", "B"),
    "qqp": ("False", "True"),
    "boolqa": ("False", "True"),
    "rte": ("entailment", "contradiction"),
    "imdb": ("Bad", "Good"),
    "yelp": ("very negative", "very positive"),
    "amazon": ("very negative", "very positive"),
    "sst-2": ("Bad", "Good"),
    "dbpedia": ("Company", "Written Work"),
    "agnews": ("World", "Science or Technology"),
    "multirc": ("False", "True"),
    "yahoo": ("Society & Culture", "Politics & Government"),
}


@pytest.fixture(scope="module")
def tasks():
    """The tasks of the fifteen data sets by name."""
    return {task.name: task for task in load_scenario("cl-long-15").tasks}


@pytest.mark.parametrize("name", HUB)
def test_a_task_reads_the_hubs_columns_and_class_names(tasks, name):
    """Texts are written out of the columns in the papers' form; every class has our name."""
    from datasets import ClassLabel, Dataset, Features, Value

    texts, label, names = HUB[name]
    task = tasks[name]
    count = len(task.labels)
    rows = {column: [f"{column} {i}" for i in range(2 * count)] for column in texts.split()}
    rows[label] = [i % count for i in range(2 * count)]
    features = Features(dict.fromkeys(texts.split(), Value("string")))
    classes = list(task.labels) if isinstance(names, str) else names
    features[label] = Value("int64") if classes is None else ClassLabel(names=classes)
    source = RowsSource(rows=Dataset.from_dict(rows, features=features))
    data = replace(task, train=source, test=source).load()

    said = data.test.column("target")
    assert (said[0], said[count - 1]) == SAID[name]
    assert set(said) == set(task.labels)
    for column in texts.split():
        assert f"{column} 1" in data.test[1].text


def test_the_written_text_is_the_papers(tasks):
    """Two columns, two lines, as in the files that the papers share."""
    assert tasks["rte"].columns["text"] == "sentence 1: {sentence1}\nsentence 2: {sentence2}"
    assert tasks["wic"].columns["text"] == "word: {word}\n{sentence1}\n{sentence2}"


def test_sentiment140_leaves_its_neutral_rows_out():
    """The hub says 0, 2 and 4; the middle one is in the test file only."""
    task = load_scenario("curlora-glue").tasks[2]

    def source(numbers):
        return RowsSource(rows=[{"text": f"t{i}", "sentiment": n} for i, n in enumerate(numbers)])

    data = replace(task, train=source([0, 4] * 9), test=source([0, 2, 4, 2])).load()
    assert data.test.column("target") == ["negative", "positive"]
