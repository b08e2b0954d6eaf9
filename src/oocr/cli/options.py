"""Options and arguments that several verbs of the command line have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[
    str, typer.Argument(help="a built-in run (oocr tasks lists them, and paper/…), or a YAML file")
]
Model = Annotated[
    str | None, typer.Option(help="bundled name, Hugging Face id, folder or GGUF file")
]
Layers = Annotated[
    str | None, typer.Option(help="blocks to try: 4 or 2,4,6 or 10:30:2 (end left out)")
]
Positions = Annotated[
    str | None,
    typer.Option(help="where the vector is added: all, last, a span's name, from:last, …"),
]
Site = Annotated[str | None, typer.Option(help="what the vector is added to: block or mlp output")]
Arms = Annotated[str | None, typer.Option(help="vector, adapter, or both: vector,adapter")]
Seeds = Annotated[int | None, typer.Option(help="seeds per arm")]
VectorRates = Annotated[
    str | None, typer.Option(help="rates to try, relative to the site: 0.02,0.05")
]
AdapterRates = Annotated[str | None, typer.Option(help="rates to try: 0.001,0.003")]
Dtype = Annotated[str | None, typer.Option(help="auto, float32, bfloat16, float16")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, …")]
Processes = Annotated[int | None, typer.Option(help="processes that train side by side")]
Quick = Annotated[
    bool, typer.Option("--quick", help="a first look: one seed, one grid point, few members")
]
VectorFile = Annotated[
    Path, typer.Argument(help="vector.safetensors, a GGUF control vector, or a bare .pt")
]
Out = Annotated[Path, typer.Option(help="folder of all runs")]
FineTune = Annotated[
    str,
    typer.Argument(help="a LoRA (PEFT folder, Hugging Face id, .pt), or a fine-tuned checkpoint"),
]
Base = Annotated[
    str | None, typer.Option(help="its base; if left out, the one that the adapter names")
]
Texts = Annotated[
    Path | None,
    typer.Option(help="what both read: JSONL, CSV, .txt; else built-in neutral passages"),
]
LoadDtype = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16")]
LoadDevice = Annotated[str, typer.Option(help="auto, cpu, cuda, …")]
JudgeModel = Annotated[
    str | None, typer.Option(help="a chat model that reads directions, blinded (extra: judge)")
]
JudgeUrl = Annotated[
    str | None, typer.Option(help="its OpenAI-compatible endpoint; else OPENAI_BASE_URL")
]
