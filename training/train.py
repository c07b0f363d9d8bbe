"""Train a recipe: `accelerate launch training/train.py NAME --photos DIR --anime DIR --out DIR`."""

import difflib
import logging
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
import tyro

from models.registry import CheckpointError
from training import hub, loop
from training.objectives import RECIPES
from training.recipe import Recipe, RecipeError


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, train, and give the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        name, recipe = parse(arguments)
        run(name, recipe)
    except (RecipeError, CheckpointError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def parse(arguments: list[str]) -> tuple[str, Recipe]:
    """Read the recipe's name, then its fields as flags."""
    name = arguments[0] if arguments else ""
    if name in ("", "-h", "--help"):
        raise RecipeError(f"usage: training/train.py NAME [flags]; NAME is one of: {', '.join(RECIPES)}.")
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {', '.join(RECIPES)}."
        raise RecipeError(f"no recipe is called {name!r}; {hint}")
    flags = ["--start" if flag == "--from" else flag for flag in arguments[1:]]
    return name, tyro.cli(RECIPES[name], args=flags, prog=f"training/train.py {name}")


def run(name: str, recipe: Recipe) -> None:
    """Train a recipe to its last step, then push the checkpoint where that is asked for."""
    recipe.check()
    torch.manual_seed(recipe.seed)
    objective = recipe.objective()
    try:
        execution = loop.Run(name, recipe, objective, recipe.data())
        execution.train()
    finally:
        objective.close()
    if recipe.push and execution.accelerator.is_main_process:
        logging.info("pushed: %s", hub.push(recipe.out / "checkpoint", recipe.push))


if __name__ == "__main__":
    sys.exit(main())
