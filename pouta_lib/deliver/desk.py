"""What the app works on: the files of one person in a temporary folder, and a job at a time.

Nothing here draws anything: :mod:`pouta_lib.deliver.app` shows it. The work itself is done by the
commands of ``pouta``, in processes of their own, so that the page stays alive and a job can be
stopped.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd

from pouta_lib.data.unpack import unpack
from pouta_lib.deliver.page import write_page
from pouta_lib.detector import Detector, load_detector
from pouta_lib.detector.answer import SCORES, verdict
from pouta_lib.detector.saved import highest_score
from pouta_lib.detector.telling import count_above, with_threshold
from pouta_lib.ground.errors import problem

COMMAND = (sys.executable, "-m", "pouta_lib.cli")
NAME_BYTES = 200  # of a name in the temporary folder
LEFT_OUT, NOTE = "left out: ", "note: "


def safe_name(name: str) -> str:
    """The last part of an uploaded file's name, as any system can write it.

    >>> [safe_name(name) for name in ("../../etc/a.png", "C:\\\\x\\\\b.png", ".c?.png", "..", "")]
    ['a.png', 'b.png', 'c_.png', 'unnamed', 'unnamed']
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    last = re.sub(r'[<>:"|?*\x00-\x1f\x7f]', "_", last).strip(". ")
    last = last.encode("utf-8", "replace").decode()
    stem, dot, suffix = last.rpartition(".")
    stem, suffix = (stem, f".{suffix[:16]}") if dot and stem else (last, "")
    kept = stem.encode()[: NAME_BYTES - len(suffix.encode())].decode("utf-8", "ignore")
    return f"{kept}{suffix}" or "unnamed"


class Tray:
    """Files that somebody hands over: photographs, or one zip; and perhaps a CSV of labels."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, folder / "files"
        self.names: dict[str, Path] = {}  # by the name it was handed over with
        self.clear()

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.names.clear()
        self.files.mkdir(parents=True)

    def put(self, name: str, content: bytes | str) -> None:
        """Takes a file; one of the same name before it makes way."""
        if (path := self.names.get(name)) is None:
            plain = safe_name(name)
            kind = Path(plain).suffix.lower()
            inside = self.folder if kind in (".zip", ".csv") else self.files
            taken = {path.name.casefold() for path in self.names.values()}
            path, k = inside / plain, 1
            while path.name.casefold() in taken:
                k += 1
                path = inside / f"{Path(plain).stem} ({k}){Path(plain).suffix}"
        path.unlink(missing_ok=True)  # a copy keeps the file that it has
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.names[name] = path

    def keep_only(self, names: Sequence[str]) -> None:
        """Forgets what was taken back."""
        for name in set(self.names) - set(names):
            self.names.pop(name).unlink()

    def copy(self, folder: Path) -> "Tray":
        """What was handed over so far, in a folder of its own; what comes later is not in it."""
        copied = Tray(folder)
        for name, path in self.names.items():
            copied.names[name] = folder / path.relative_to(self.folder)
            os.link(path, copied.names[name])
        return copied

    def of_kind(self, suffix: str) -> list[Path]:
        return [path for path in self.names.values() if path.suffix.lower() == suffix]

    @property
    def labels(self) -> Path | None:
        """The CSV, where there is one."""
        return next(iter(self.of_kind(".csv")), None)

    def forget_labels(self) -> None:
        labels = self.of_kind(".csv")
        self.keep_only([name for name, path in self.names.items() if path not in labels])

    def photographs(self) -> Path:
        """The folder of what was handed over, a zip unpacked.

        *Raises* :class:`PoutaError` for nothing, for photographs beside a zip, for several zips,
        and for what :func:`~pouta_lib.data.unpack.unpack` refuses.
        """
        zips, files = self.of_kind(".zip"), list(self.files.iterdir())
        if len(zips) + bool(files) != 1:
            found = f"{len(files)} files and {len(zips)} zips"
            todo = "drop photographs or one zip, or name a folder"
            raise problem("photographs, or one zip of them", found, "what was dropped", todo)
        if not zips:
            return self.files
        unpacked = self.folder / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        unpack(zips[0], unpacked)
        while len(inside := _plain(unpacked)) == 1 and inside[0].is_dir():
            unpacked = inside[0]  # a zip of one folder
        return unpacked


def _plain(folder: Path) -> list[Path]:
    """What lies in a folder, without what systems put there."""
    return [p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX"))]


class Job:
    """A command of ``pouta``, in a process of its own."""

    def __init__(self, title: str, words: Sequence[str], log: Path) -> None:
        self.title, self.log = title, log
        self.started, self.stopped, self.status = time.monotonic(), False, 0
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        told = {"POUTA_PROGRESS": "lines", "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*COMMAND, *self._words],
                env=os.environ | told,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            if self.stopped:
                self._process.terminate()
            status = self._process.wait()
        # predict says by 1 that it passed something over; its answer is there
        self.status = 0 if self._words[0] == "predict" and status == 1 else status

    def stop(self) -> None:
        self.stopped = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        self._thread.join()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def lines(self) -> list[str]:
        """What the command has said so far."""
        text = self.log.read_text("utf-8", errors="replace") if self.log.is_file() else ""
        return [line for line in re.split(r"[\r\n]+", text) if line.strip()]

    def error(self) -> str:
        """Why it ended; nothing where it went well, is running, or was stopped."""
        if self.running or self.stopped or not self.status:
            return ""
        text = "\n".join(self.lines())
        return text[text.rfind("pouta: ") + len("pouta: ") :] if "pouta: " in text else text

    def notes(self) -> list[str]:
        """What was read otherwise than one may think."""
        return [line for line in self.lines() if line.startswith(NOTE)]

    def left_out(self) -> list[str]:
        """What was passed over, each with its reason."""
        text = "\n".join(self.lines())
        parts = re.split(rf"^(?:pouta: )?{LEFT_OUT}", text, flags=re.MULTILINE)[1:]
        return [re.match(r".*(?:\n  .*)*", part)[0] for part in parts]  # type: ignore[index]  # it matches anything


class Desk:
    """From photographs to a detector, and to what it says of others."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(
            prefix="pouta-app-", ignore_cleanup_errors=True
        )
        self.folder = Path(self._temporary.name)
        self.good, self.images = Tray(self.folder / "good"), Tray(self.folder / "images")
        self.fitted, self.answer = self.folder / "detector", self.folder / "answer"
        self.job: Job | None = None
        self.detector: Detector | None = None  # the one that was fitted last
        self.threshold = 0.0
        self._taken: Job | None = None  # whose result was taken in
        self.inspected: Path | None = None  # the folder that was
        self.shown = Tray(self.folder / "images-1")  # what had been handed over for that
        self._asked: tuple[Path | None, Tray] = None, self.shown  # what is to be inspected
        self.scores: list[float] = []  # of it; none where no image of it could be read

    def close(self) -> None:
        """Stops the job and removes all files."""
        self.stop()
        if self.job is not None:
            self.job.wait()
        self._temporary.cleanup()

    def fit(self, folder: str, method: str, minutes: float, false_alarms: float) -> None:
        """Begins to fit a detector; from a folder on this machine where one is named."""
        self._require_no_job()
        self.take_in()
        photos = Path(folder).expanduser() if folder.strip() else self.good.photographs()
        words = [f"--method={method}", f"--minutes={minutes}", f"--false-alarms={false_alarms}"]
        self._begin("fit", ["fit", str(photos), f"--output={self.fitted}", "--replace", *words])

    def inspect(self, folder: str) -> None:
        """Begins to score images, those that are there now.

        What was inspected before stays, for the page shows it until there is another answer.
        """
        self._require_no_job()
        self.take_in()
        names = ("images-1", "images-2")
        spare = next(self.folder / name for name in names if name != self.shown.folder.name)
        handed = self.images.copy(spare)
        images = Path(folder).expanduser() if folder.strip() else handed.photographs()
        predict = ["predict", str(self.fitted), str(images), f"--output={self.answer}"]
        self._begin("inspect", predict)
        self._asked = images, handed

    def _require_no_job(self) -> None:
        if self.job is not None and self.job.running:
            raise problem("one job at a time", f"{self.job.title}, running", "the app", "stop it")

    def _begin(self, title: str, words: list[str]) -> None:
        self._require_no_job()
        self.job = Job(title, words, self.folder / f"{title}.log")

    def stop(self) -> None:
        """Stops the job; what a fit had made is kept for the next."""
        if self.job is not None:
            self.job.stop()

    def take_in(self) -> None:
        """What a job made that has ended."""
        job = self.job
        if job is None or job is self._taken or job.running:
            return
        self._taken = job
        if job.status:
            return
        if job.title == "fit":
            self.detector = load_detector(self.fitted)
            self.threshold = self.detector.threshold
            shutil.rmtree(self.answer, ignore_errors=True)  # another detector's
            self.scores = []
        else:
            self.inspected, self.shown = self._asked
            self.scores = pd.read_csv(self.answer / SCORES)["score"].dropna().tolist()

    @property
    def answered(self) -> bool:
        """Is there an answer of today's detector, with a score in it?"""
        return bool(self.scores)

    def stops(self) -> list[float]:
        """Thresholds between any two neighbouring scores that are known, and the detector's own.

        None is among them with which a detector would pass everything, or nothing: none is saved.
        """
        assert self.detector is not None
        fitted, own = self.detector.fitted, self.detector.threshold
        scores = [own, *self.scores]
        if fitted is not None:
            scores += fitted.good + [s for found in fitted.damaged.values() for s in found]
        each = np.unique(np.asarray(scores, float))
        stops = {own, each[0] / 2, *((each[1:] + each[:-1]) / 2), each[-1]}
        highest = highest_score(self.detector.method)
        return sorted(float(stop) for stop in stops if 0 < stop < highest)

    def counts(self, threshold: float) -> pd.DataFrame:
        """What lies above a threshold: of good ones held out, of damages, of what was inspected."""
        assert self.detector is not None
        groups: dict[str, Sequence[float]] = {}
        if (fitted := self.detector.fitted) is not None:
            groups["good photographs held out: refused"] = fitted.good
            groups["good ones in other light, position or focus: refused"] = fitted.changed
            groups |= {f"{kind}, drawn: found": scores for kind, scores in fitted.damaged.items()}
        groups["inspected: called defective"] = self.scores
        rows = [
            (name, *count_above(scores, threshold)) for name, scores in groups.items() if scores
        ]
        table = pd.DataFrame(rows, columns=["", "above it", "of"])
        table["%"] = (100 * table["above it"] / table["of"]).round(1)
        return table

    def detector_zip(self, threshold: float) -> bytes:
        """The detector with this threshold, packed."""
        assert self.detector is not None
        content = io.BytesIO()
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as folder,
            zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            saved = with_threshold(self.detector, threshold).save(Path(folder, "detector"))
            for path in sorted(saved.iterdir()):
                archive.write(path, f"detector/{path.name}")
        return content.getvalue()

    def csv(self, threshold: float) -> bytes:
        """The answer with the verdicts of this threshold."""
        table = pd.read_csv(self.answer / SCORES, keep_default_na=False, dtype=str)
        scored = table["verdict"] != "not read"
        scores = table.loc[scored, "score"].astype(float)
        table["threshold"] = threshold
        table.loc[scored, "verdict"] = [verdict(score, threshold) for score in scores]
        return table.to_csv(index=False, lineterminator="\n").encode()

    def report(self, threshold: float) -> str:
        """The answer as a page, with the labels that were there when it was asked for."""
        path = self.folder / "report.html"
        write_page(
            self.answer, path, images=self.inspected, labels=self.shown.labels, threshold=threshold
        )
        return path.read_text("utf-8")

    def plain(self, text: str) -> str:
        """A message without the temporary folder's own path."""
        return text.replace(f"{self.folder}{os.sep}", "")
