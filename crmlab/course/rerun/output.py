"""What a reader gets of a rerun: tables as CSV and LaTeX, figures as SVG and PNG, the counts, and a page that shows it all."""

import base64
import hashlib
import html
import json
import re
import shutil

import pandas as pd

from crmlab.course import notebooks
from crmlab.course.rerun import kernel, lesson

__all__ = ["write"]

# Columns that say how many; a row in which one of them is small may point at somebody.
COUNTS = ("customers", "stays", "active")


def write(plan, found, notebook, folder):
    """Write everything but the manifest into `folder`; what was written, for the manifest."""
    made = {"tables": {}, "figures": {}, "counts": _counts(plan, folder / "counts")}
    page, heading = [], plan.stem
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = cell.source.lstrip("# ").splitlines()[0]
            marks = len(cell.source) - len(cell.source.lstrip("#"))
            if marks > 1:
                page.append(f"<h{marks}>{_text(heading)}</h{marks}>")
            continue
        tags = cell.metadata.get("tags", [])
        if "remove-cell" in tags or not (cell.outputs or "injected-parameters" in tags):
            continue
        page.append(f"<details><summary>code</summary><pre>{html.escape(cell.source)}</pre></details>")
        described = ""
        for output in cell.outputs:
            data = output.get("data", {})
            described = data.pop(kernel.FIGURE, described)
            if kernel.TABLE in data:
                page.append(_table(data, data.pop(kernel.TABLE), heading, made, folder))
            elif "image/png" in data:
                page.append(_figure(data, described or heading, heading, made, folder))
            elif "text/html" in data:
                page.append(data["text/html"])
            elif text := data.get("text/plain") or output.get("text"):
                page.append(f"<pre>{html.escape(text)}</pre>")
        cell.outputs = [output for output in cell.outputs if output.get("data", True)]
        for output in cell.outputs:
            output.get("data", {}).pop("image/svg+xml", None)  # PNG is enough here; the SVG lies beside
    notebooks.write(notebook, folder / f"{plan.stem}.ipynb")
    notebooks.write_text(folder / "report.html", _page(plan, found, made, page))
    return made


BIASED = "What is rare is not like the rest: a fit to the counts that are left is biased."


def taken_out(entry):
    """What was suppressed of a table of counts, in words; nothing if nothing was."""
    gone = entry.get("suppressed", {})
    if not gone.get("rows"):
        return ""
    shares = " and ".join(f"{share:.1%} of the {what}" for what, share in gone["shares"].items())
    return f"{gone['rows']:,} small rows taken out, and with them {shares}"


def digest(content):
    """SHA-256 of text or bytes."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def _name(heading, known):
    slug = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")[:40] or "log"
    return f"{len(known) + 1:02d}-{slug}"


def _table(data, kept, heading, made, folder):
    name = _name(heading, made["tables"])
    for ending, form in (("csv", "csv"), ("tex", "latex")):
        notebooks.write_text(folder / "tables" / f"{name}.{ending}", kept[form])
    made["tables"][name] = {"rows": kept["csv"].count("\n") - 1, "sha256": digest(kept["csv"])}
    return f"<figure id='{name}'><div class='wide'>{data['text/html']}</div><figcaption>tables/{name}.csv, .tex</figcaption></figure>"


def _figure(data, alt, heading, made, folder):
    name = _name(heading, made["figures"])
    (folder / "figures").mkdir(exist_ok=True)
    png = base64.b64decode(data["image/png"])
    notebooks.write_bytes(folder / "figures" / f"{name}.png", png)
    svg = data.get("image/svg+xml", "")
    notebooks.write_text(folder / "figures" / f"{name}.svg", svg)
    made["figures"][name] = {"sha256": digest(svg), "shows": alt}
    picture = base64.b64encode(svg.encode()).decode()
    return (
        f"<figure id='{name}'><img alt='{html.escape(alt, quote=True)}' src='data:image/svg+xml;base64,{picture}'>"
        f"<figcaption>figures/{name}.svg, .png</figcaption></figure>"
    )


def _counts(plan, folder):
    """The kept counts, small cells taken out if asked for; a description of each."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {}
    for note in sorted((plan.work() / "counts").glob("*.json")):
        file = note.with_suffix(".parquet")
        table = pd.read_parquet(file)
        entry = json.loads(note.read_text(encoding="utf-8"))
        weights = [name for name in COUNTS if name in table.columns]
        if plan.suppress and weights:
            small = (table[weights] < plan.suppress).any(axis=1)
            entry["suppressed"] = {
                "rows": int(small.sum()),
                **{w: int(table.loc[small, w].sum()) for w in weights},
                "shares": {w: float(table.loc[small, w].sum() / max(table[w].sum(), 1)) for w in weights},
            }
            table = table[~small].reset_index(drop=True)
            table.to_parquet(folder / file.name, index=False)
        else:
            shutil.copyfile(file, folder / file.name)
        # By value: Parquet files of equal tables may differ.
        entry |= {"rows": len(table), "sha256": digest(table.to_csv(index=False))}
        described[file.name] = entry
    return described


_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}
figure{margin:1em 0}img{max-width:100%}figcaption,small{color:#555;font-size:.85em}.wide{overflow-x:auto}
.note{border-left:.4em solid #0072b2;padding:.3em .8em;background:#f4f8fb}pre{background:#f6f6f6;padding:.6em;overflow-x:auto}
summary{color:#555;cursor:pointer;font-size:.85em}"""


def _page(plan, found, made, parts):
    title = f"{plan.name}: {plan.stem}"
    report = found.report.reset_index().astype(object)
    report = report.where(report.notna(), "").to_html(index=False, border=0)
    columns = ", ".join(f"{standard} = {own}" for standard, own in plan.columns.items())
    facts = (
        f"{found.customers:,} customers, {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d} ({found.days:,} days). Columns: {columns}. "
        f"Engine: {plan.engine}."
    )
    settings = "\n".join(f"{name} = {value!r}" for name, value in found.parameters.items())
    kept = "".join(
        f"<li>counts/{name}: {entry['rows']:,} rows" + (f"; {taken_out(entry)}" if taken_out(entry) else "") + "</li>"
        for name, entry in made["counts"].items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title><meta name="viewport" content="width=device-width">
<style>{_STYLE}</style></head><body><main>
<h1>{_text(title)}</h1>
<p class="note">{_text(lesson.banner(plan.stem)).replace("`", "")}</p>
<h2>The log</h2>
<p>{_text(facts)}</p>
<div class="wide">{report}</div>
<details><summary>parameters</summary><pre>{html.escape(settings)}</pre></details>
{chr(10).join(parts)}
<h2>What was counted</h2>
<p>All that was taken from the log. Whoever has these files can fit again without it; no customer is named in them.</p>
<ul>{kept}</ul>
{f"<p>{BIASED}</p>" if any(map(taken_out, made["counts"].values())) else ""}
<p><small>manifest.json says how this was made; python -m crmlab rerun --manifest manifest.json makes it again.</small></p>
</main></body></html>
"""


def _text(words):
    return html.escape(words)
