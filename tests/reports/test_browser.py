"""The page in a real browser: nothing breaks, pictures are there, it can be used by everyone.

Needs Chromium (`apt install chromium`); CONTINUAL_BROWSER=required makes its absence a failure.
"""

import json
import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from continual.reports import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROBE = """
<script>
window.addEventListener("load", async () => {
  const found = {};
  found.pictures = Array.from(document.images).map(i => i.complete && i.naturalWidth > 0 && i.alt);
  const table = document.querySelector("table.sortable");
  const first = () => Array.from(table.tBodies[0].rows).map(r => r.cells[0].innerText);
  const column = () => Array.from(table.tBodies[0].rows).map(r => parseFloat(r.cells[2].innerText));
  table.tHead.rows[0].cells[2].querySelector("button").click();
  found.rising = column();
  table.tHead.rows[0].cells[2].querySelector("button").click();
  found.falling = column();
  const costs = document.querySelectorAll("table.sortable")[1];
  const heads = Array.from(costs.tHead.rows[0].cells);
  const memory = heads.findIndex(h => h.innerText.includes("peak memory"));
  heads[memory].querySelector("button").click();
  found.memory = Array.from(costs.tBodies[0].rows).map(r => r.cells[memory].innerText);
  found.state = table.tHead.rows[0].cells[2].getAttribute("aria-sort");
  const box = document.querySelector("fieldset.filter input");
  const shown = () => Array.from(document.querySelectorAll("[data-method]"))
    .filter(part => part.dataset.method === box.value && part.offsetParent !== null).length;
  found.before = shown();
  box.click();
  found.after = shown();
  box.click();
  found.again = shown();
  const result = await axe.run(document, {resultTypes: ["violations"]});
  found.violations = result.violations.map(v => [v.id, v.nodes.slice(0, 3).map(n => n.html)]);
  const sink = document.createElement("pre");
  sink.id = "found";
  sink.textContent = JSON.stringify(found);
  document.body.append(sink);
});
</script>
"""


def browser() -> str:
    """The browser there is."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path is not None:
            return path
    if os.environ.get("CONTINUAL_BROWSER") == "required":
        pytest.fail(f"no browser: install one of {BROWSERS}.")
    pytest.skip("no browser")


def visit(page: Path, folder: Path, *options: str) -> tuple[dict, str]:
    """Open a page with the probe in it; return what it found and what the console said."""
    axe = (files("axe_core_python") / "axe.min.js").read_text()
    probed = folder / "probed.html"
    text = page.read_text().replace("</body>", f"<script>{axe}</script>{PROBE}</body>")
    probed.write_text(text)
    done = subprocess.run(
        [
            *(browser(), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *("--virtual-time-budget=60000", f"--user-data-dir={folder / 'profile'}", *options),
            *("--dump-dom", probed.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stderr[-2000:]
    said = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return json.loads(
        match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    ), said


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_a_study_in_the_browser(make_run, tmp_path, dark):
    """Five methods, three seeds, five tasks, hostile names."""
    tasks = ("news", "<script>alert(1)</script>", "w" * 90, "questions", "π & co")
    methods = ("curlora", "nlora", "lora", "frozen", "head-only")
    runs = [
        make_run(m, k + s, tasks=tasks, costs=True) for k, m in enumerate(methods) for s in range(3)
    ]
    page, _ = write_report(runs, tmp_path / "report.html")
    options = ["--blink-settings=preferredColorScheme=0"] if dark else []
    found, said = visit(page, tmp_path, *options)

    assert said == ""
    assert all(found["pictures"])
    assert len(found["pictures"]) == 15 + 3
    rising = [value for value in found["rising"] if value is not None]
    falling = [value for value in found["falling"] if value is not None]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert found["state"] == "descending"
    megabytes = [int(text.replace(",", "").split()[0]) for text in found["memory"]]
    assert len(set(megabytes)) == 5
    assert megabytes == sorted(megabytes)
    assert found["before"] == found["again"] > found["after"] == 0
    assert found["violations"] == []
