import re
from pathlib import Path

import numpy as np
import torch

from ssgan_bench.networks.conv import Discriminator, Generator
from ssgan_bench.networks.tensorflow_weights import dump_discriminator, dump_generator
from ssgan_bench.trials.plan import make_plan
from ssgan_bench.trials.study_file import read_study

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_study_of_the_documents_resolves(tmp_path):
    example = re.search(r"```toml\n(.*?)```", (ROOT / "docs/studies.md").read_text(), re.DOTALL).group(1)
    path = tmp_path / "dropout.toml"
    path.write_text(example)
    plan = make_plan(read_study(path), str(path), "quick", {})
    assert [cell.config["network"]["dropout"] for cell in plan.cells[:2]] == [0.3, 0.0]
    assert len(plan.cells) == 16


def test_every_link_of_the_documents_leads_to_a_file():
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not target.startswith("https://"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_no_placeholder_is_left():
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("studies/*.toml")):
        assert not re.search(r"@[A-Z_]+@", document.read_text()), document.name


def test_every_study_is_listed_in_the_readme():
    for path in (ROOT / "studies").glob("*.toml"):
        assert f"| `{path.stem}` |" in README


def test_fidelity_recipe_of_the_documents_runs():
    recipe = re.search(r"```python\n(.*?)```", (ROOT / "docs/fidelity.md").read_text(), re.DOTALL).group(1)
    recipe = recipe.replace("width=128", "width=4")  # the recipe itself, at a size that a test can afford
    rng = np.random.default_rng(0)
    batch = 4
    names = {
        "x": rng.uniform(-1, 1, (batch, 64, 64, 1)).astype(np.float32),
        "labels": rng.integers(0, 10, batch),
        "mask": np.array([0, 1, 0, 1], dtype=np.float32),
        "z": rng.normal(size=(batch, 1, 1, 100)).astype(np.float32),
        "weights": dump_discriminator(Discriminator(64, width=4)) | dump_generator(Generator(64, width=4)),
    }
    exec(recipe, names)
    assert set(names["losses_of_d"]) == {"supervised_loss", "real_loss", "fake_loss"}
    assert set(names["losses_of_g"]) == {"adversarial_loss", "feature_matching_loss"}
    for loss in [*names["losses_of_d"].values(), *names["losses_of_g"].values()]:
        assert torch.isfinite(loss)
