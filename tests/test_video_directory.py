"""A folder of one's own videos: what is found, what videos.csv says of it, and what is refused."""

import hashlib
import os
import shutil

import pytest

from tests.videos import from_folder, make_video, one
from vqcast.errors import VqcastError


@pytest.fixture
def root(tmp_path):
    return tmp_path / "videos"


def put(root, name, content=b"a video"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_table(root, *lines):
    root.mkdir(parents=True, exist_ok=True)
    (root / "videos.csv").write_text("\n".join(lines) + "\n")


def by_video(rows):
    return {row["video"]: row for row in rows}


def test_video_is_known_by_label_and_file_and_pinned_by_its_hash(root, place):
    put(root, "jumping/a.mp4", b"content")
    row = one(place.download(from_folder(root)))
    assert (row["video"], row["label"], row["status"], row["reason"]) == (
        "jumping/a.mp4",
        "jumping",
        "ok",
        None,
    )
    assert row["sha256"] == hashlib.sha256(b"content").hexdigest()
    assert row["bytes"] == len(b"content")
    assert (place.store / row["file"]).read_bytes() == b"content"


@pytest.mark.parametrize("label", ["passing (in game)", 'person\'s "top"', "-dash", "日本 é"])
@pytest.mark.parametrize("file", ["-video-.mp4", 'it\'s (1) "x".MOV', "no suffix", "odd.m p 4"])
def test_label_and_name_may_hold_quotes_parentheses_and_dashes(root, place, label, file):
    put(root, f"{label}/{file}")
    row = one(place.download(from_folder(root)))
    assert (row["video"], row["label"], row["status"]) == (f"{label}/{file}", label, "ok")
    assert (place.store / row["file"]).is_file()


def test_name_that_is_not_utf8_is_taken_too(root, place):
    folder = put(root, "label/b.mp4").parent
    os.rename(folder / "b.mp4", bytes(folder) + b"/caf\xe9.mp4")
    row = one(place.download(from_folder(root)))
    assert (row["video"], row["status"]) == ("label/caf\N{REPLACEMENT CHARACTER}.mp4", "ok")


def test_files_are_linked_rather_than_copied_where_the_file_system_can(root, place):
    path = put(root, "label/a.mp4")
    row = one(place.download(from_folder(root)))
    assert (place.store / row["file"]).samefile(path)


def test_hidden_files_and_files_outside_a_label_are_no_videos(root, place):
    put(root, "label/a.mp4")
    put(root, "label/.DS_Store")
    put(root, ".cache/b.mp4")
    put(root, "README.txt")
    assert [row["video"] for row in place.download(from_folder(root))] == ["label/a.mp4"]


def test_table_states_split_licence_and_attribution(root, place):
    put(root, "label/a.mp4", b"a")
    put(root, "label/b.mp4", b"b")
    write_table(
        root,
        "label,video,split,is_cc,licence,attribution",
        'label,label/a.mp4,val,1,CC-BY-4.0,"Somebody, Inc."',
        "label,label/b.mp4,train,0,,",
    )
    rows = by_video(place.download(from_folder(root)))
    a, b = rows["label/a.mp4"], rows["label/b.mp4"]
    assert (a["split"], a["licence"], a["attribution"]) == ("val", "CC-BY-4.0", "Somebody, Inc.")
    assert (b["split"], b["licence"], b["attribution"]) == ("train", None, None)


def test_split_by_content_does_not_move_when_videos_are_renamed_or_added(root, place):
    for index in range(40):
        put(root, f"label/{index}.mp4", f"video {index}".encode())
    before = {row["sha256"]: row["split"] for row in place.download(from_folder(root))}
    assert set(before.values()) == {"train", "val"}
    for index in range(40):
        (root / f"label/{index}.mp4").rename(root / f"label/renamed {index}.mp4")
        put(root, f"other/{index}.mp4", f"another {index}".encode())
    after = {row["sha256"]: row["split"] for row in place.download(from_folder(root))}
    assert before.items() <= after.items()
    assert len(after) == 80


def test_val_share_is_the_share_of_videos_held_out(root, place):
    for index in range(400):
        put(root, f"label/{index}.mp4", f"video {index}".encode())
    rows = place.download(from_folder(root, val_share=0.25))
    assert 70 <= sum(row["split"] == "val" for row in rows) <= 130


def test_video_in_the_table_alone_gets_a_row_with_the_reason(root, place):
    put(root, "label/a.mp4")
    write_table(root, "video,split", "label/gone.mp4,train", "../outside.mp4,train")
    put(root.parent, "outside.mp4")
    rows = by_video(place.download(from_folder(root)))
    for video in ("label/gone.mp4", "../outside.mp4"):
        row = rows[video]
        assert (row["status"], row["file"]) == ("failed", None)
        assert row["reason"] == "videos.csv names it, but there is no such file"
    assert rows["label/a.mp4"]["status"] == "ok"


def test_video_whose_hash_is_not_the_stated_one_gets_a_row_with_the_reason(root, place):
    put(root, "label/a.mp4", b"a")
    put(root, "label/b.mp4", b"b")
    good = hashlib.sha256(b"a").hexdigest().upper()
    write_table(root, "video,split,sha256", f"label/a.mp4,train,{good}", f"label/b.mp4,train,{good}")
    rows = by_video(place.download(from_folder(root)))
    assert rows["label/a.mp4"]["status"] == "ok"
    assert rows["label/b.mp4"]["status"] == "failed"
    assert rows["label/b.mp4"]["reason"] == "its SHA-256 is not the one that videos.csv states"


def test_train_copy_of_a_validation_video_is_refused(root, place):
    put(root, "label/a.mp4", b"same")
    put(root, "label/copy.mp4", b"same")
    write_table(root, "video,split", "label/a.mp4,val", "label/copy.mp4,train")
    rows = by_video(place.download(from_folder(root)))
    assert rows["label/a.mp4"]["status"] == "ok"
    assert (rows["label/copy.mp4"]["status"], rows["label/copy.mp4"]["outcome"]) == ("excluded", "held-out")
    assert "'label/a.mp4', a validation video" in rows["label/copy.mp4"]["reason"]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["label,video", "label,label/a.mp4"], "lacks the column split"),
        (["label", "label"], "lacks the column video and the column split"),
        (
            ["video,split", "label/a.mp4,test"],
            "line 2: the split of 'label/a.mp4' must be train or val, not 'test'",
        ),
        (["video,split", "label/a.mp4"], "line 2: the split of 'label/a.mp4' must be train or val, not None"),
        (
            ["video,split", "label/a.mp4,val", "label/a.mp4,val"],
            "line 3: the video 'label/a.mp4' is named twice",
        ),
    ],
)
def test_table_that_makes_no_sense_is_one_sentence(root, place, lines, sentence):
    put(root, "label/a.mp4")
    write_table(root, *lines)
    with pytest.raises(VqcastError, match=sentence):
        place.download(from_folder(root))


def test_table_that_is_no_text_is_one_sentence(root, place):
    put(root, "label/a.mp4")
    (root / "videos.csv").write_bytes(b"video,split\n\xff\xfe,val\n")
    with pytest.raises(VqcastError, match="is not a CSV table in UTF-8"):
        place.download(from_folder(root))


def test_missing_folder_is_one_sentence(root, place):
    with pytest.raises(VqcastError, match=r"download.directory.root: the folder .* does not exist"):
        place.download(from_folder(root))


def test_empty_folder_is_one_sentence(root, place):
    root.mkdir()
    with pytest.raises(VqcastError, match="holds no video as <label>/<file>"):
        place.download(from_folder(root))


def test_too_many_failed_videos_stop_the_stage_with_a_summary(root, place):
    put(root, "label/a.mp4")
    write_table(root, "video,split", "label/a.mp4,train", "label/b.mp4,train", "label/c.mp4,train")
    sentence = (
        r"2 of 3 videos cannot be had, more than download.max_failed_share \(0.5\) allows: "
        r"2 x videos.csv names it, but there is no such file \('label/b.mp4'\)"
    )
    with pytest.raises(VqcastError, match=sentence):
        place.download(from_folder(root, max_failed_share=0.5))
    assert not place.raw.exists()


def test_no_video_at_all_stops_the_stage_whatever_share_may_fail(root, place):
    write_table(root, "video,split", "label/b.mp4,train")
    with pytest.raises(VqcastError, match="none of the 1 videos can be had"):
        place.download(from_folder(root, max_failed_share=1.0))


def test_stored_file_stays_as_it_is_when_downloaded_again(root, place):
    put(root, "label/a.mp4")
    file = place.store / one(place.download(from_folder(root)))["file"]
    before = file.stat()
    again = place.store / one(place.download(from_folder(root)))["file"]
    assert (again, again.stat().st_ino, again.stat().st_ctime_ns) == (file, before.st_ino, before.st_ctime_ns)


def test_file_changed_in_place_is_stored_anew(root, place):
    path = put(root, "label/a.mp4", b"first")
    place.download(from_folder(root))
    path.write_bytes(b"second")
    row = one(place.download(from_folder(root)))
    assert (place.store / row["file"]).read_bytes() == b"second"
    assert row["sha256"] == hashlib.sha256(b"second").hexdigest()


def test_videos_stay_in_the_store_when_their_folder_goes(root, place):
    path = make_video(root / "label/a.mp4", frames=4)
    content = path.read_bytes()
    row = one(place.download(from_folder(root)))
    shutil.rmtree(root)
    assert (place.store / row["file"]).read_bytes() == content
