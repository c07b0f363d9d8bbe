"""One file per method; this is the list of all named recipes."""

from training.objectives import adain, animegan, dtgan
from training.recipe import Recipe

RECIPES: dict[str, type[Recipe]] = {**animegan.RECIPES, **dtgan.RECIPES, **adain.RECIPES}
