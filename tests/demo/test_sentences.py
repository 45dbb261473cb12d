"""The sentences that stand in for text: enough of them, distinct, seeded, of two kinds."""

import pytest

from ringtest.demo.sentences import reviews, told


def test_enough_distinct_sentences_of_the_promised_length():
    texts, topics = told(600)
    elsewhere = reviews(400)
    assert len(set(texts + elsewhere)) == 1000
    lengths = {len(text.split()) for text in texts + elsewhere}
    assert min(lengths) >= 5
    assert max(lengths) <= 20
    assert not any("{" in text for text in texts + elsewhere)
    assert {topics.count(t) for t in set(topics)} == {100}


def test_the_seed_decides():
    assert told(30, 1) == told(30, 1)
    assert told(30, 1)[0] != told(30, 2)[0]
    assert reviews(30) == reviews(30)
    assert reviews(30) != reviews(30, 1)
    assert told(30)[0] == told(60)[0][:30]


def test_what_the_templates_cannot_give_is_an_error():
    with pytest.raises(ValueError, match=r"only \d+ distinct sentences"):
        reviews(10**6)
