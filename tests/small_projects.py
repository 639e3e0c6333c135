"""Small git and DVC projects on which tests run the pipeline, and a look at what processes are left."""

import os
import subprocess
from pathlib import Path

# Every stage writes its outs, and appends its name, start and end to a file that DVC knows nothing of.
STAGE = """\
import json, os, sys, time
from pathlib import Path

name, seconds, *outs = sys.argv[1:]
print(f"{name} prints this")
start = time.time()
time.sleep(float(seconds))
for out in outs:
    Path(out).write_text(name)
with open("ran.jsonl", "a") as file:
    file.write(json.dumps([name, start, time.time()]) + "\\n")
"""


def make_project(folder: Path, environment: dict, document: str, stage: str = STAGE) -> Path:
    """A git and DVC project of a dvc.yaml and a stage.py; nothing is committed yet."""
    folder.mkdir()
    for command in (["git", "init", "--quiet", "--initial-branch", "main"], ["dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=folder, env=environment, check=True)
    (folder / "dvc.yaml").write_text(document)
    (folder / "stage.py").write_text(stage)
    return folder


def processes_naming(text: str) -> list[str]:
    """Command lines and working folders, of all processes of this machine, that hold `text`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if text in command or text in os.readlink(process / "cwd"):
                found.append(command)
        except OSError:  # it ended meanwhile
            continue
    return found
