"""The app: photographs dropped into a page of the browser become a detector and its answers.

Panel draws it, :mod:`pouta_lib.deliver.desk` does the work. Panel comes with the extra ``app``.
"""

import html
import io
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import panel as pn
import param
from panel.custom import JSComponent

from pouta_lib.deliver.desk import Desk, Tray
from pouta_lib.detector.telling import expectations, fitted_table, with_threshold
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.methods import CANDIDATES, COMPARED, METHODS

HOST = "127.0.0.1"
SECONDS = 0.5  # between two looks at the job
MOST_TOLD = 8  # files that were left out
WIDTH = 1080
CARD = {"background": "white", "border": "1px solid #d8dde3", "border-radius": "8px"}
CARD |= {"padding": "12px 18px", "margin": "0 0 14px"}
FONT = {"font-size": "15px"}


class Report(JSComponent):  # type: ignore[misc]  # Panel is looked at as if it had no types
    """The page of ``pouta report``, in a frame that can reach nothing outside of it."""

    page = param.String()
    threshold = param.Number()
    _esm = """
export function render({ model }) {
  const frame = document.createElement("iframe")
  frame.setAttribute("sandbox", "allow-scripts")
  frame.title = "the inspected images, the worst first"
  frame.style = "width: 100%; height: 85vh; border: 0"
  const tell = () => frame.contentWindow?.postMessage({ threshold: model.threshold }, "*")
  frame.onload = tell
  frame.srcdoc = model.page
  model.on("page", () => { frame.srcdoc = model.page })
  model.on("threshold", tell)
  return frame
}
"""


# A hundred photographs are not previewed one by one, and no upload is made to look slow.
QUICK = """<script>
FilePond.setOptions({allowImagePreview: false, allowMinimumUploadDuration: false,
  itemInsertInterval: 0, maxParallelUploads: 20})
</script>"""


class View:
    """One open page; what it shows is on the desk, so that a page that is reloaded goes on."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.shown: tuple[Any, ...] = ()  # of what the page was drawn last
        self._build_fit()
        self._build_account()
        self._build_inspect()
        self.whole = pn.Column(
            pn.pane.HTML(
                "<h1>From photographs to a detector</h1><p>Everything stays on this machine, in a "
                "temporary folder: download what you want to keep.</p>" + QUICK
            ),
            self.fit_card,
            self.account_card,
            self.inspect_card,
            width=WIDTH,
            align="center",
        )
        self.refresh()

    def _build_fit(self) -> None:
        self.good, self.good_told = _dropper(self.desk.good)
        self.good_folder = pn.widgets.TextInput(
            placeholder="or the path of a folder on this machine", sizing_mode="stretch_width"
        )
        titles = {METHODS[name].title: name for name in dict.fromkeys(COMPARED + CANDIDATES)}
        self.method = pn.widgets.Select(
            name="Method", options={"the best of them": "auto"} | titles, width=220
        )
        self.minutes = pn.widgets.FloatInput(name="Minutes at most", value=10, start=0.5, width=140)
        self.alarms = pn.widgets.FloatInput(
            name="Good parts refused, in %", value=5, start=0.1, end=50, width=180
        )
        self.fit_button = pn.widgets.Button(name="Fit", button_type="primary", width=120)
        self.fit_button.on_click(lambda _: self._try(self._fit))
        self.fit_running = _Running(self.desk)
        self.fit_card = _card(
            "1. Photographs of good parts",
            "At least 8, better 20 to 100, taken alike; none of a defective part. One zip will do.",
            self.good,
            self.good_told,
            self.good_folder,
            pn.Row(self.method, self.minutes, self.alarms),
            self.fit_button,
            self.fit_running.whole,
        )

    def _build_account(self) -> None:
        self.tried = pn.pane.DataFrame(
            index=False, justify="left", sizing_mode="stretch_width", styles=FONT
        )
        self.told = pn.pane.HTML(sizing_mode="stretch_width", styles=FONT)
        self.slider = pn.widgets.DiscreteSlider(
            name="Threshold", options=[0.0], formatter="%.4g", sizing_mode="stretch_width"
        )
        self.slider.param.watch(lambda event: self._move(event.new), "value")
        self.counts = pn.pane.DataFrame(index=False, justify="left", styles=FONT)
        self.back = pn.widgets.Button(name="back to the detector's own", width=220)
        self.back.on_click(lambda _: self._move(self._own))
        self.keep = _download(
            "Download the detector", "detector.zip", lambda: self.desk.detector_zip(self.at)
        )
        self.account_card = _card(
            "2. What to expect of it",
            "",
            self.tried,
            self.told,
            pn.Row(self.slider, self.back),
            self.counts,
            self.keep,
            pn.pane.HTML(
                "The zip has the threshold that is chosen here. Unpacked, it is used by "
                "<code>pouta predict</code> and <code>pouta export</code>."
            ),
        )

    def _build_inspect(self) -> None:
        self.images, self.images_told = _dropper(self.desk.images)
        self.images_folder = pn.widgets.TextInput(
            placeholder="or the path of a folder on this machine", sizing_mode="stretch_width"
        )
        self.inspect_button = pn.widgets.Button(name="Inspect", button_type="primary", width=120)
        self.inspect_button.on_click(lambda _: self._try(self._inspect))
        self.inspect_running = _Running(self.desk)
        self.report = Report(sizing_mode="stretch_width")
        self.csv = _download("Download scores.csv", "scores.csv", lambda: self.desk.csv(self.at))
        self.page = _download(
            "Download the report", "report.html", lambda: self.desk.report(self.at).encode()
        )
        self.answer = pn.Column(
            pn.Row(self.csv, self.page),
            self.report,
            width=WIDTH - 40,
        )
        self.inspect_card = _card(
            "3. Inspect others",
            "Photographs taken like the first ones. With a CSV of the columns file and label "
            "(good, or the defect) beside them, hits and false alarms are counted.",
            self.images,
            self.images_told,
            self.images_folder,
            self.inspect_button,
            self.inspect_running.whole,
            self.answer,
        )

    @property
    def at(self) -> float:
        return self.desk.threshold

    @property
    def _own(self) -> float:
        assert self.desk.detector is not None
        return self.desk.detector.threshold

    def _try(self, action: Callable[[], None]) -> None:
        running = self.fit_running if action == self._fit else self.inspect_running
        try:
            action()
            running.error.visible = False
        except PoutaError as error:
            running.say(str(error))
        self.refresh()

    def _fit(self) -> None:
        share, minutes = (self.alarms.value or 0) / 100, self.minutes.value or 0  # None: emptied
        self.desk.fit(self.good_folder.value, self.method.value, minutes, share)

    def _inspect(self) -> None:
        self.desk.inspect(self.images_folder.value)

    def _move(self, threshold: float) -> None:
        desk = self.desk
        assert desk.detector is not None
        desk.threshold = threshold
        if self.slider.value != threshold:
            self.slider.value = threshold
        detector = with_threshold(desk.detector, threshold)
        self.told.object = "".join(f"<p>{html.escape(line)}</p>" for line in expectations(detector))
        self.counts.object = desk.counts(threshold)
        self.report.threshold = threshold
        self.back.disabled = threshold == self._own

    def refresh(self) -> None:
        """Shows what is on the desk."""
        desk = self.desk
        try:
            desk.take_in()
        except PoutaError as error:
            self.fit_running.say(str(error))
        job = desk.job
        busy = job is not None and job.running
        for title, running, button in (
            ("fit", self.fit_running, self.fit_button),
            ("inspect", self.inspect_running, self.inspect_button),
        ):
            if job is not None and job.title == title:
                running.show(60 * (self.minutes.value or 0) if title == "fit" else None)
            button.disabled = busy
        state = (desk.detector, job, busy, desk.answered)
        if state != self.shown:
            self.shown = state
            self._draw(busy)

    def _draw(self, busy: bool) -> None:
        desk = self.desk
        self.account_card.visible = self.inspect_card.visible = desk.detector is not None
        self.answer.visible = desk.answered and not busy
        if desk.detector is None:
            return
        if desk.detector.fitted is not None:
            self.tried.object = fitted_table(desk.detector.fitted)
        at = desk.threshold
        self.slider.options = sorted({*desk.stops(), at})
        if self.answer.visible:
            self.report.page = self._page(at)
        self._move(at)

    def _page(self, at: float) -> str:
        """The report; without labels that do not fit, and empty where the pictures are gone."""
        for _ in range(2):
            try:
                return self.desk.report(at)
            except PoutaError as error:
                self.inspect_running.say(str(error))
                self.desk.shown.forget_labels()
        return ""


class _Running:
    """How far a job is, what it says, and why it ended."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.bar = pn.indicators.Progress(sizing_mode="stretch_width", bar_color="primary")
        self.line = pn.pane.Str(styles={"white-space": "pre-wrap"}, sizing_mode="stretch_width")
        self.stop = pn.widgets.Button(name="Stop", width=90)
        self.stop.on_click(lambda _: desk.stop())
        self.error = pn.pane.Str(
            visible=False,
            sizing_mode="stretch_width",
            styles={"white-space": "pre-wrap", "border-left": "4px solid #b3261e"}
            | {"background": "#fdf0ef", "padding": "8px 12px"},
        )
        self.whole = pn.Column(
            pn.Row(self.bar, self.stop, visible=False),
            self.line,
            self.error,
            sizing_mode="stretch_width",
        )

    def say(self, text: str) -> None:
        """An error, in its four parts."""
        self.error.object, self.error.visible = self.desk.plain(text), True

    def show(self, of_seconds: float | None) -> None:
        job = self.desk.job
        assert job is not None
        self.whole[0].visible = job.running
        lines = [line for line in job.lines() if not line.startswith("left out")]
        if job.running:
            self.error.visible = False
            share = min(99, int(100 * job.seconds / of_seconds)) if of_seconds else -1
            if self.bar.value != share:
                self.bar.value = share
            said = lines[-1] if lines else "starting"
            self.line.object = f"{job.seconds:.0f} s: {self.desk.plain(said)}"
            return
        if job.stopped:
            self.line.object = "Stopped. The same again goes on from there."
            return
        if text := job.error():
            self.line.object = ""
            self.say(text)
            return
        left_out = job.left_out()
        told = ["Done.", *map(self.desk.plain, job.notes())]
        if left_out:
            told.append(f"{len(left_out)} left out:")
            told += [self.desk.plain(text) for text in left_out[:MOST_TOLD]]
        self.line.object = "\n".join(told)


def _dropper(tray: Tray) -> tuple[Any, Any]:
    """Where files are dropped, and what is said of them; they go to the tray one by one."""
    drop = pn.widgets.FileDropper(
        multiple=True, previews=[], layout="compact", sizing_mode="stretch_width", height=150
    )
    told = pn.pane.HTML()

    def take(_: Any) -> None:
        for name in list(drop.value):
            tray.put(name, drop.value.pop(name))
        tray.keep_only(list(drop.mime_type))
        told.object = f"{len(tray.names)} files received" if tray.names else ""

    drop.param.watch(take, "value")
    return drop, told


def _download(label: str, filename: str, make: Callable[[], bytes]) -> Any:
    return pn.widgets.FileDownload(
        callback=lambda: io.BytesIO(make()), filename=filename, label=label, width=220
    )


def _card(title: str, text: str, *parts: Any) -> Any:
    head = pn.pane.HTML(
        f"<h2 style='margin:0'>{title}</h2>" + (f"<p>{text}</p>" if text else ""), styles=FONT
    )
    return pn.Column(head, *parts, styles=CARD, width=WIDTH)


def serve(port: int = 0, *, show: bool = True) -> None:
    """Serves the app on this machine alone until it is stopped, and says where.

    The address has a token behind its #, which a browser does not send on; without it there is a
    page that asks for it. 0 takes any free port.
    """
    desk, token = Desk(), secrets.token_urlsafe(24)

    def page() -> Any:
        view = View(desk)
        pn.state.add_periodic_callback(view.refresh, int(1000 * SECONDS))
        return pn.Column(view.whole, sizing_mode="stretch_width")

    pn.extension("filedropper")
    server = pn.io.server.get_server(
        page,
        port=port,
        address=HOST,
        title="pouta",
        show=False,
        start=False,
        verbose=False,
        basic_auth=token,
        basic_login_template=str(Path(__file__).with_name("login.html")),
        cookie_secret=secrets.token_urlsafe(32),
    )
    address = f"http://localhost:{server.port}/login#{token}"
    print(f"open {address}\n(Ctrl-C ends it, and removes what was not downloaded)", flush=True)
    if show:
        import webbrowser

        webbrowser.open(address)
    try:
        server.start()
        server.io_loop.start()
    finally:
        desk.close()
