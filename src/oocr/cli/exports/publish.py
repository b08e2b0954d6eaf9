"""`oocr publish`: a vector, a LoRA or a run on the Hugging Face Hub, with a card."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from oocr.errors import InputError
from oocr.io import command_line, new_folder
from oocr.output_checks import check_output
from oocr.publish.base_model import base_model
from oocr.publish.contents import contents_of
from oocr.publish.folder import PublishedFolder, write_folder
from oocr.publish.upload import check_access, check_repository, upload


def publish(
    given: Path,
    repository: str,
    *,
    public: bool,
    dry_run: bool,
    base: str | None,
    license: str | None,
    out: Path | None,
) -> None:
    """Write the folder and upload it in one commit; with `dry_run` only show its contents."""
    console = Console(highlight=False, soft_wrap=True)
    check_repository(repository)
    if out is not None and not dry_run:
        raise InputError("--out: it keeps the folder of a dry run; give --dry-run too")
    if out is not None:
        check_output(out, inputs=[given])
    contents = contents_of(given)
    model = base_model(contents.about, given=base, licence=license, online=not dry_run)
    if not dry_run:
        check_access(repository, public=public)
    seen = "public" if public else "private"
    console.print(f"[bold]{escape(repository)}[/] ({seen}), one commit:")
    with tempfile.TemporaryDirectory(prefix="oocr-") as place:
        folder = Path(place) / "repository"
        folder.mkdir()
        written = write_folder(folder, repository, contents, model, given)
        _show(console, folder, written)
        console.print(f"  base       {escape(model.words)}, licence {model.licence or 'not known'}")
        if dry_run:
            console.print("")
            console.print((folder / "README.md").read_text(encoding="utf-8"), markup=False)
            if out is not None:
                _keep(folder, out)
            console.print("nothing was uploaded (--dry-run)")
            return
        address = upload(folder, repository, public=public)
    console.print(escape(address))
    single = len(contents.arms) == 1
    place = repository if single else f"hf://{repository}/{contents.arms[0].place}"
    console.print(f"  use        {escape(command_line(['oocr', 'read', place]))}")


def _show(console: Console, folder: Path, written: PublishedFolder) -> None:
    for path in written.files:
        size = f"{path.stat().st_size:,} bytes"
        console.print(f"  {escape(str(path.relative_to(folder)))}  {size}")
    for words in written.left_out:
        console.print(f"  [yellow]left out:[/] {escape(words)}")


def _keep(folder: Path, out: Path) -> None:
    """Copy the folder to `--out`."""
    import shutil

    with new_folder(out) as part:
        shutil.copytree(folder, part, dirs_exist_ok=True)
