"""Which videos share a shard: about as many as wanted, and always the same ones, whatever comes or goes."""

from vqcast.clips.layout import lay_out


def ids(count):
    return [f"video {number}" for number in range(count)]


def shards(videos, videos_per_shard=8):
    """The ids in each shard of one split."""
    return [
        tuple(videos[row] for row in place.rows)
        for place in lay_out(videos, ["train"] * len(videos), videos_per_shard)
    ]


def test_every_video_is_in_one_shard_in_the_tables_order_and_shards_have_about_the_wanted_size():
    found = shards(ids(2000), videos_per_shard=8)
    assert [video for shard in found for video in shard] == ids(2000)
    assert max(map(len, found)) == 16
    assert 6 < 2000 / len(found) < 9


def test_videos_added_at_the_end_change_the_last_shard_alone():
    before, after = shards(ids(500)), shards(ids(520))
    assert before[:-1] == after[: len(before) - 1]


def test_a_video_that_comes_or_goes_changes_few_shards_wherever_it_is():
    videos = ids(400)
    before = set(shards(videos))
    changed = []
    for place in range(len(videos)):
        changed.append(len(set(shards(videos[:place] + videos[place + 1 :])) - before))
        changed.append(len(set(shards([*videos[:place], "new", *videos[place:]])) - before))
    assert sum(changed) / len(changed) < 2
    assert max(changed) <= 5


def test_splits_have_shards_of_their_own_and_rows_of_no_split_have_none():
    splits = ["train", "val", None, "train"]
    places = lay_out(ids(4), splits, videos_per_shard=100)
    assert [(place.name, place.rows) for place in places] == [("train-00000", (0, 3)), ("val-00000", (1,))]
